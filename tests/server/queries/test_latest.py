"""The newest value of every metric, or why there is none."""

from gpufleet_agent.catalogue import BY_NAME, METRICS, Reason
from gpufleet_server.queries import latest
from gpufleet_server.store.engine import Store

from tests.server.fleet import NOW, SECOND, Fleet


def test_a_gap_has_its_reason(store: Store, fleet: Fleet) -> None:
    """The reason stands in the newest sample, where the value would."""
    one, two = (fleet.gpu(fleet.node("a"), uuid) for uuid in ("GPU-1", "GPU-2"))
    fleet.sample(one, power=1234, fan_speed=BY_NAME["fan_speed"].absent(Reason.UNSUPPORTED))
    fleet.sample(two, power=BY_NAME["power"].absent(Reason.NO_PERMISSION), fan_speed=4200)
    fleet.state(two, "fan_speed", NOW - 5 * SECOND, reason=Reason.FAILED)
    with store.reading() as connection:
        found = latest.of_samples(connection, [one, two])
    assert (found[one]["power"].value, found[one]["power"].reason) == (123.4, None)
    assert (found[one]["fan_speed"].value, found[one]["fan_speed"].reason) == (None, "unsupported")
    assert (found[two]["power"].value, found[two]["power"].reason) == (None, "no permission")
    assert (found[two]["fan_speed"].value, found[two]["fan_speed"].reason) == (42.0, None)


def test_a_gpu_without_samples_is_not_observed(store: Store, fleet: Fleet) -> None:
    """Every metric of the catalogue is there, without a value and with the reason."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    with store.reading() as connection:
        found = latest.of_all(connection, gpu)
    assert list(found) == [metric.name for metric in METRICS]
    assert {(r.stored, r.value, r.reason, r.at) for r in found.values()} == {(None, None, "not observed", None)}


def test_a_state_is_the_newest_value_or_absence(store: Store, fleet: Fleet) -> None:
    """What is sent on change counts from its last change on."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    fleet.state(gpu, "pcie_replays", NOW - 20 * SECOND, value=3)
    fleet.state(gpu, "pcie_replays", NOW - 10 * SECOND, value=7)
    fleet.state(gpu, "remap_failed", NOW - 20 * SECOND, value=1)
    fleet.state(gpu, "remap_failed", NOW - 15 * SECOND, reason=Reason.LOST)
    with store.reading() as connection:
        found = latest.of_all(connection, gpu)
    assert (found["pcie_replays"].value, found["pcie_replays"].at) == (7, NOW - 10 * SECOND)
    assert (found["remap_failed"].value, found["remap_failed"].reason) == (None, "lost")


def test_an_increment_has_a_rate(store: Store, fleet: Fleet) -> None:
    """The rate is the value over the length of its own interval."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    fleet.sample(gpu, duration=2_500, energy=5_000_000)
    with store.reading() as connection:
        reading = latest.of_samples(connection, [gpu])[gpu]["energy"]
    assert (reading.value, reading.rate) == (5000, 2000)


def test_a_reason_of_a_newer_agent_is_shown() -> None:
    """A number that this version has no word for is no error."""
    assert latest.word(14) == "reason 14"
