"""Every metric of every sample, from the simulated driver to the stored integer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE

from tests.agent.backends.nvidia.driver import Shown, of_gpu, opened, sampled, sampled_over, shown
from tests.nvml_sim.scenario import Device, Scenario, Value, a100_mig, b200, counter, error, h100_sxm, old_card, typed

# Metric → field of the scenario and what makes the metric's unit of it.
FIELDS: dict[str, tuple[str, float]] = {
    "gpu_utilization": ("util.gpu", 1),
    "memory_copy_utilization": ("util.memory", 1),
    "encoder_utilization": ("util.encoder", 1),
    "decoder_utilization": ("util.decoder", 1),
    "jpeg_utilization": ("util.jpg", 1),
    "ofa_utilization": ("util.ofa", 1),
    "sm_active": ("gpm.sm_util", 1),
    "sm_occupancy": ("gpm.sm_occupancy", 1),
    "tensor_active": ("gpm.any_tensor_util", 1),
    "fp64_active": ("gpm.fp64_util", 1),
    "fp32_active": ("gpm.fp32_util", 1),
    "fp16_active": ("gpm.fp16_util", 1),
    "dram_active": ("gpm.dram_bw_util", 1),
    "fb_used": ("fb.used", 1),
    "fb_free": ("fb.free", 1),
    "fb_reserved": ("fb.reserved", 1),
    "bar1_used": ("bar1.used", 1),
    "gpu_temperature": ("temperature_c", 1),
    "memory_temperature": ("memory_temperature_c", 1),
    "temperature_margin": ("margin_temperature_c", 1),
    "fan_speed": ("fan_speed", 1),
    "sm_clock": ("clock.sm", 1),
    "memory_clock": ("clock.mem", 1),
    "graphics_clock": ("clock.graphics", 1),
    "video_clock": ("clock.video", 1),
    "performance_state": ("performance_state", 1),
    "clock_event_reasons": ("clocks_event_reasons", 1),
}
GROWTH = {
    "energy": (("energy_mj", 450_000, 0.001),),
    "pcie_tx_bytes": (("field.197", 1_500_000_000, 1),),
    "pcie_rx_bytes": (("field.198", 1_700_000_000, 1),),
    "nvlink_tx_bytes": (("field.138.all", 25_000_000, 1024),),
    "nvlink_rx_bytes": (("field.139.all", 35_000_000, 1024),),
}
# Counters of nanoseconds, and the percentage of the time by which they grow.
HELD = {
    "clocks_held_by_power": ("field.74", 31),
    "clocks_held_by_heat": ("field.75", 17),
    "clocks_held_by_power_brake": ("field.271", 7),
}
SECONDS = 0.125


def moving(gpu: Device) -> Device:
    """The GPU with counters that grow and with states that no other metric shows."""
    gpu.update(
        {field: counter(10**9, rate) for rows in GROWTH.values() for field, rate, _ in rows if field in gpu.values}
    )
    gpu.update({field: counter(10**9, share * 1e7) for field, share in HELD.values() if field in gpu.values})
    return gpu.update({"performance_state": 3, "clocks_event_reasons": 0x1A4, "fb.free": 3_456_789 * 1024})


def expected(gpu: Device) -> dict[str, Shown]:
    """What each metric must say, as it is stored."""
    found: dict[str, Shown] = {metric.name: "unsupported" for metric in EVERY_SAMPLE}
    for metric, (field, factor) in FIELDS.items():
        value = gpu.values.get(field)
        if isinstance(value, (int, float)):
            found[metric] = shown(metric, BY_NAME[metric].store(value * factor))
    for metric, rows in GROWTH.items():
        for field, rate, factor in rows:
            if field in gpu.values:
                found[metric] = shown(metric, BY_NAME[metric].store(round(rate * SECONDS) * factor))
    return found | {"compute_processes": 0}


def check(gpu: Device, tmp_path: Path, **differences: Shown) -> dict[str, Shown]:
    """Compare all metrics of a GPU, those that depend on the true time roughly and power not at all, and give them."""
    scenario = Scenario([moving(gpu)]).freeze(1000.0)
    scenario.system.set("driver_version", "590.44.01")
    with opened(scenario, tmp_path / "s") as session:
        got = of_gpu(sampled_over(session, scenario, tmp_path / "s", SECONDS))
    rough = {name: got.pop(name) for name in ("power", *HELD)}
    wanted = {name: value for name, value in (expected(gpu) | differences).items() if name not in rough}
    assert got == wanted
    for name, (field, share) in HELD.items():
        assert rough[name] == (pytest.approx(share, rel=0.3) if field in gpu.values else "unsupported")
    return got | rough


def test_an_h100_gives_every_metric(tmp_path: Path) -> None:
    """Each value is the driver's own, and no two of them are the same number."""
    gpu = h100_sxm(3, {"fan_speed": 91}).process(1, "a").process(2, "b").process(3, "c", kind="graphics")
    got = check(gpu, tmp_path, compute_processes=2)
    assert set(got) == {metric.name for metric in EVERY_SAMPLE}
    assert not [name for name, value in got.items() if isinstance(value, str)]
    assert len(set(got.values())) == len(got)


def test_a_b200_gives_what_an_h100_gives(tmp_path: Path) -> None:
    """All but the fan, which it has none of."""
    got = check(b200(2), tmp_path)
    assert [name for name, value in got.items() if isinstance(value, str)] == ["fan_speed"]


def test_an_a100_under_mig_has_no_utilisation(tmp_path: Path) -> None:
    """What MIG takes away and what Ampere has not is unsupported, and nowhere zero."""
    got = check(a100_mig(1), tmp_path)
    absent = [name for name, value in got.items() if value == "unsupported"]
    assert [name for name in absent if name.endswith("utilization")] == list(FIELDS)[:6]
    assert [name for name in absent if name.endswith("active")] == [
        "sm_active", "tensor_active", "fp64_active", "fp32_active", "fp16_active", "dram_active",
    ]  # fmt: skip


def test_an_old_card_says_what_it_can(tmp_path: Path) -> None:
    """Power is the driver's reading, the margin is made of the threshold, the rest is unsupported."""
    gpu = old_card(5)
    threshold, now = gpu.values["threshold.slowdown"], gpu.values["temperature_c"]
    assert isinstance(threshold, int) and isinstance(now, int)
    got = check(gpu, tmp_path, temperature_margin=threshold - now)
    milliwatts = gpu.values["power_usage_mw"]
    assert isinstance(milliwatts, int)
    assert got["power"] == round(milliwatts / 100) / 10
    assert got["energy"] == got["pcie_tx_bytes"] == got["nvlink_rx_bytes"] == "unsupported"


def test_gpus_of_different_abilities_side_by_side(tmp_path: Path) -> None:
    """Each GPU answers for itself: what one cannot does not make the other's absent or zero."""
    gpus = [h100_sxm(0), old_card(1), b200(2), a100_mig(3)]
    scenario = Scenario(gpus)
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    assert [gpu.values["uuid"] for gpu in gpus] == list(tick.gpus)
    assert [shown("sm_active", v) == "unsupported" for v in tick.columns["sm_active"]] == [False, True, False, True]
    assert [shown("fan_speed", v) == "unsupported" for v in tick.columns["fan_speed"]] == [True, False, True, True]
    assert {len(column) for column in tick.columns.values()} == {4}


def test_power_is_the_energy_over_the_interval(tmp_path: Path) -> None:
    """Not the reading of the moment, which is much lower here."""
    scenario = Scenario([h100_sxm(0, {"energy_mj": counter(10**12, 654_321), "power_usage_mw": 111_111})])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s", 0.3)
    got = of_gpu(tick)
    assert got["power"] == pytest.approx(654.3, rel=0.3)
    assert got["energy"] == pytest.approx(654.321 * tick.duration / 1000, rel=0.3)


def test_a_stuck_energy_counter_does_not_make_power_zero(tmp_path: Path) -> None:
    """Power is then the driver's own reading."""
    scenario = Scenario([h100_sxm(0, {"energy_mj": 10**12, "power_usage_mw": 222_200})])
    scenario.gpus[0].fail("power_instant_mw", "not_supported")
    with opened(scenario, tmp_path / "s") as session:
        got = of_gpu(sampled_over(session, scenario, tmp_path / "s"))
    assert (got["power"], got["energy"]) == (222.2, 0)


def test_a_counter_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """The increment after a failed reading spans both intervals; power falls back to the driver's reading."""
    gpu = h100_sxm(0, {"energy_mj": counter(0, 100_000), "power_usage_mw": 123_400})
    gpu.fail("energy_mj", "unknown", 1000.1, 1000.2)
    scenario = Scenario([gpu]).freeze(1000.0)
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        time.sleep(0.05)
        scenario.freeze(1000.1).write(tmp_path / "s")
        failed = of_gpu(sampled(session))
        time.sleep(0.05)
        scenario.freeze(1000.3).write(tmp_path / "s")
        assert (failed["energy"], failed["power"]) == ("failed", 123.4)
        assert of_gpu(sampled(session))["energy"] == 30


def test_energy_that_starts_again_counts_from_zero(tmp_path: Path) -> None:
    """A reset between two samples gives what was counted since."""
    gpu = h100_sxm(0, {"energy_mj": counter(10**12, 400_000, resets=[1000.1])})
    scenario = Scenario([gpu]).freeze(1000.0)
    with opened(scenario, tmp_path / "s") as session:
        assert of_gpu(sampled_over(session, scenario, tmp_path / "s", 0.15))["energy"] == pytest.approx(20)


def test_pcie_counters_wrap(tmp_path: Path) -> None:
    """One round of 32 bits is made whole."""
    gpu = a100_mig(0, {"field.197": counter((1 << 32) - 1024, 1_024_000, wrap=32), "field.198": counter(4096, 8192)})
    scenario = Scenario([gpu]).freeze(1000.0)
    gpu.values["field.197"] = counter((1 << 32) - 1024 - 1_024_000_000, 1_024_000, wrap=32)
    with opened(scenario, tmp_path / "s") as session:
        got = of_gpu(sampled_over(session, scenario, tmp_path / "s", 0.125))
    assert (got["pcie_tx_bytes"], got["pcie_rx_bytes"]) == (128_000, 1024)


def test_a_narrow_pcie_counter_is_made_whole_by_gpm(tmp_path: Path) -> None:
    """At 40 GB/s 32 bits go round many times a sample: GPM's rate tells how often, the counter the rest."""
    rate = 40_000_000_000
    gpu = h100_sxm(0, {"field.197": typed("uint", counter(0, rate, wrap=32)), "gpm.pcie_tx": rate / (1 << 20)})
    with opened(scenario := Scenario([gpu]), tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s", 0.3)
    assert of_gpu(tick)["pcie_tx_bytes"] == pytest.approx(rate * tick.duration / 1000, rel=0.3)


def test_more_than_the_link_can_carry_is_not_believed(tmp_path: Path) -> None:
    """GPM's rate stands in where there is GPM; elsewhere the value is implausible."""
    wild = {"field.198": counter(10**12, 10**14)}
    scenario = Scenario([h100_sxm(0, {**wild, "gpm.pcie_rx": 1000.0}), a100_mig(1, wild)])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s", 0.15)
    assert of_gpu(tick, 0)["pcie_rx_bytes"] == pytest.approx((1000 << 20) * tick.duration / 1000, rel=0.3)
    assert of_gpu(tick, 1)["pcie_rx_bytes"] == "implausible"


def test_nvlink_bytes_of_links_one_by_one(tmp_path: Path) -> None:
    """Where the driver has no total the links' own counters are added up, a link without one left out."""
    gpu = b200(0)
    for name in [n for n in gpu.values if n.startswith(("field.138", "field.139"))]:
        gpu.values.pop(name)
    gpu.update({f"field.202.{link}": counter(link, 8_000_000) for link in range(18)}).values.pop("field.202.7")
    scenario = Scenario([gpu]).freeze(1000.0)
    with opened(scenario, tmp_path / "s") as session:
        assert of_gpu(sampled_over(session, scenario, tmp_path / "s", 0.125))["nvlink_tx_bytes"] == 17_000_448


@pytest.mark.parametrize(
    ("metric", "overrides"),
    [
        ("gpu_temperature", {"temperature_c": 255}),
        ("sm_clock", {"clock.sm": 4_294_967}),
        ("sm_active", {"gpm.sm_util": float("nan")}),
        ("tensor_active", {"gpm.any_tensor_util": -1.0}),
        ("dram_active", {"gpm.dram_bw_util": 180.0}),
        ("gpu_utilization", {"util.gpu": 250}),
        ("performance_state", {"performance_state": 32}),
        ("fb_used", {"fb.used": 1 << 62, "fb.free": 1 << 62}),
    ],
)
def test_nonsense_is_implausible(metric: str, overrides: dict[str, int | float], tmp_path: Path) -> None:
    """A value that cannot be is told as such and not stored."""
    scenario = Scenario([h100_sxm(0, {**overrides})])
    with opened(scenario, tmp_path / "s") as session:
        assert of_gpu(sampled_over(session, scenario, tmp_path / "s"))[metric] == "implausible"


def test_profiling_zeros_on_a_busy_gpu_are_implausible(tmp_path: Path) -> None:
    """The GPU is busy all the time at full power: its multiprocessors cannot be idle."""
    overrides: dict[str, Value] = {
        "gpm.sm_util": 0.0,
        "gpm.fp64_util": 0.0,
        "util.gpu": 100,
        "energy_mj": counter(0, 690_000),
    }
    scenario = Scenario([h100_sxm(0, overrides), h100_sxm(1, overrides | {"energy_mj": counter(0, 60_000)})])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    busy, idle = of_gpu(tick, 0), of_gpu(tick, 1)
    assert (busy["sm_active"], busy["fp64_active"], idle["sm_active"]) == ("implausible", "implausible", 0)
    assert busy["sm_occupancy"] == 19.0


def test_no_permission_is_told_apart(tmp_path: Path) -> None:
    """What root alone may see is not unsupported."""
    gpu = h100_sxm(0, {"clock.video": error("no_permission")}).fail("nvmlGpmSampleGet", "no_permission")
    with opened(scenario := Scenario([gpu]), tmp_path / "s") as session:
        got = of_gpu(sampled_over(session, scenario, tmp_path / "s"))
    assert (got["video_clock"], got["sm_active"]) == ("no permission", "no permission")


def test_what_is_unsupported_is_not_asked_again(tmp_path: Path) -> None:
    """Support does not come while the driver stays; what merely failed is asked in the next sample."""
    gpu = h100_sxm(0, {"fan_speed": error("not_supported"), "clock.sm": error("timeout")})
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        before = of_gpu(sampled(session))
        gpu.update({"fan_speed": 50, "clock.sm": 777})
        scenario.write(tmp_path / "s")
        after = of_gpu(sampled(session))
    assert (before["fan_speed"], before["sm_clock"]) == ("unsupported", "failed")
    assert (after["fan_speed"], after["sm_clock"]) == ("unsupported", 777)


def test_samples_too_close_give_no_profile(tmp_path: Path) -> None:
    """GPM wants 100 ms between two samples: sooner there is nothing observed, later there is again."""
    with opened(scenario := Scenario([h100_sxm(0)]), tmp_path / "s") as session:
        session.sample()
        assert of_gpu(sampled(session))["sm_active"] == "not observed"
        assert of_gpu(sampled_over(session, scenario, tmp_path / "s"))["sm_active"] == 12.0


def test_the_first_sample_is_the_baseline(tmp_path: Path) -> None:
    """There is no interval before it."""
    with opened(Scenario([h100_sxm(0)]), tmp_path / "s") as session:
        assert session.sample() is None
        tick = sampled(session)
    assert abs(tick.at / 1e6 - time.time()) < 5
    assert 0 <= tick.duration < 5000


def test_a_node_without_gpus_has_no_samples(tmp_path: Path) -> None:
    """A driver without a GPU is no error."""
    with opened(Scenario(), tmp_path / "s") as session:
        assert [session.sample(), session.sample(), session.gpus(), session.states()] == [None, None, [], {}]


def test_ids_that_drivers_disagree_on_are_left_alone(tmp_path: Path) -> None:
    """Before 590 the field of the power brake's time may be another's."""
    scenario = Scenario([moving(h100_sxm(0))])
    with opened(scenario, tmp_path / "s") as session:
        got = of_gpu(sampled_over(session, scenario, tmp_path / "s"))
    assert got["clocks_held_by_power_brake"] == "unsupported"
    assert got["clocks_held_by_heat"] == pytest.approx(17, rel=0.3)


def test_clocks_are_never_held_longer_than_there_was_time(tmp_path: Path) -> None:
    """A counter that the driver brings up to date late may grow by more than the interval."""
    scenario = Scenario([h100_sxm(0, {"field.74": counter(0, 1.4e9)})])
    with opened(scenario, tmp_path / "s") as session:
        assert of_gpu(sampled_over(session, scenario, tmp_path / "s"))["clocks_held_by_power"] == 100
