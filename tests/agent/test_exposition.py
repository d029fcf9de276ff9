"""The Prometheus text: clean, complete, and silent about what is absent."""

import shutil
import subprocess

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, METRICS, ON_CHANGE, Kind, Reason
from gpufleet_agent.exposition import render, series_name
from gpufleet_agent.runtime.frames import Happened, Ticked
from gpufleet_agent.snapshot import Snapshot
from gpufleet_agent.wire import Backlog, Driver, Event, Gpu, Host, Partition, Roster, State, pack
from prometheus_client.parser import text_string_to_metric_families

GPUS = ["GPU-a", "GPU-b"]


def snapshot() -> Snapshot:
    """Two GPUs, every metric of the first with a value of its own, none of the second's every-sample metrics."""
    roster = Roster(
        host=Host(hostname="h", agent_version="0", driver_version="570.1"),
        gpus=[Gpu(uuid=uuid, vendor="v", index=n, model="Model X", serial=f"s{n}") for n, uuid in enumerate(GPUS)],
    )
    states = [State(1, "GPU-a", metric.name, 50 + place) for place, metric in enumerate(ON_CHANGE)]
    shown = Snapshot(roster, Driver(state="ok", since=1), Backlog(reports=3, bytes=99, dropped=2), states)
    shown.take(tick(1))
    shown.take(tick(2))
    return shown


def tick(at: int) -> Ticked:
    """A sample of both GPUs."""
    columns = {m.name: pack([10 + n, m.absent(Reason.UNSUPPORTED)], m.width) for n, m in enumerate(EVERY_SAMPLE)}
    return Ticked(at=at, duration=1000, gpus=GPUS, columns=columns)


def values(text: bytes) -> dict[tuple[str, str], float]:
    """(series, uuid) → value."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, s.labels.get("uuid", "")): s.value for family in families for s in family.samples}


def test_every_metric_is_shown_in_its_base_unit() -> None:
    """Each value is the stored integer times the catalogue's step and factor; increments add up."""
    shown = values(render(snapshot()))
    for metric in METRICS:
        if metric.flags:
            continue
        stored = 50 + ON_CHANGE.index(metric) if metric in ON_CHANGE else 10 + EVERY_SAMPLE.index(metric)
        counter = metric.kind is Kind.INCREMENT
        expected = float(stored * (1 + counter) * metric.step * metric.unit.prometheus_factor)
        assert shown[series_name(metric) + "_total" * counter, "GPU-a"] == pytest.approx(expected)


def test_absent_values_are_left_out() -> None:
    """A value that the GPU cannot give has no series, least of all a 0."""
    shown = values(render(snapshot()))
    assert {name for name, uuid in shown if uuid == "GPU-b"} == {"gpufleet_gpu_info", "gpufleet_gpu_lost"}


def test_partitions_have_names_of_their_own() -> None:
    """No sum over GPUs counts them; with their share, what they do adds up to what their GPU does."""
    shown = snapshot()
    assert shown.roster is not None
    shown.roster.gpus[0].partitions = [
        Partition(uuid=f"MIG-{n}", profile="1g.10gb", gpu_instance=7 + n, compute_instance=0, share=n / 7)
        for n in (1, 2)
    ]
    columns = {"sm_active": pack([5000, BY_NAME["sm_active"].absent(Reason.UNSUPPORTED)], 2)}
    shown.take(
        Ticked(at=3, duration=1000, gpus=GPUS, columns={}, partitions=["MIG-1", "MIG-2"], partition_columns=columns)
    )
    text = render(shown)
    of_partitions = {key: value for key, value in values(text).items() if key[0].startswith("gpufleet_partition")}
    assert of_partitions == {
        ("gpufleet_partition_share_ratio", "MIG-1"): pytest.approx(1 / 7),
        ("gpufleet_partition_share_ratio", "MIG-2"): pytest.approx(2 / 7),
        ("gpufleet_partition_sm_active_ratio", "MIG-1"): 0.5,
    }
    families = text_string_to_metric_families(text.decode())
    (first,) = [s for f in families if f.name == "gpufleet_partition_sm_active_ratio" for s in f.samples]
    ids = {"uuid": "MIG-1", "gpu_uuid": "GPU-a", "gpu_instance": "8", "compute_instance": "0"}
    assert first.labels == ids | {"index": "0", "model": "Model X", "profile": "1g.10gb"}


def test_xids_are_counted() -> None:
    """A counter for each GPU and XID that came; of a GPU that is no more there is none."""
    shown = snapshot()
    told = [Event(at=1, kind="xid", gpu=gpu, code=code) for gpu, code in (("GPU-a", 79), ("GPU-a", 79), ("GPU-x", 13))]
    shown.take(Happened(events=told))
    families = text_string_to_metric_families(render(shown).decode())
    (family,) = [family for family in families if family.name == "gpufleet_gpu_xids"]
    assert [(s.labels["uuid"], s.labels["index"], s.labels["xid"], s.value) for s in family.samples] == [
        ("GPU-a", "0", "79", 2)
    ]


def test_names_are_unique_and_of_base_units() -> None:
    """No two metrics share a name, no name repeats its prefix."""
    names = [series_name(metric) for metric in METRICS]
    assert len(set(names)) == len(names)
    assert series_name(BY_NAME["gpu_utilization"]) == "gpufleet_gpu_utilization_ratio"
    assert series_name(BY_NAME["sm_clock"]) == "gpufleet_gpu_sm_clock_hertz"
    assert series_name(BY_NAME["pcie_tx_bytes"]) == "gpufleet_gpu_pcie_tx_bytes"


def test_a_silent_driver_gives_no_values() -> None:
    """Stale gauges are not shown as if they were now; the agent says that the driver is down."""
    shown = snapshot()
    shown.driver = Driver(state="unresponsive", since=1)
    after = values(render(shown))
    assert after["gpufleet_agent_driver_up", ""] == 0
    assert ("gpufleet_gpu_power_watts", "GPU-a") not in after


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    """`promtool check metrics` is clean."""
    done = subprocess.run(["promtool", "check", "metrics"], input=render(snapshot()), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_an_agent_that_is_paused_does_not_say_that_the_driver_is_down() -> None:
    """A rule for drivers that are down finds nothing: nobody asks this one."""
    shown = snapshot()
    assert values(render(shown))["gpufleet_agent_paused", ""] == 0
    shown.driver = Driver(state="paused", since=1, detail="driver update")
    found = values(render(shown))
    assert found["gpufleet_agent_paused", ""] == 1
    assert ("gpufleet_agent_driver_up", "") not in found
    assert ("gpufleet_gpu_power_watts", "GPU-a") not in found
