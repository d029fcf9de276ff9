"""Counters of the driver that start again from zero."""

from pathlib import Path

from gpufleet_agent.catalogue import EVERY_SAMPLE, Kind

from tests.e2e.scenarios.stage import House, boards, reporting
from tests.nvml_sim.scenario import counter

WATTS, BYTES_A_SECOND = 500, 10**6
INCREMENTS = [metric.name for metric in EVERY_SAMPLE if metric.kind is Kind.INCREMENT]


def test_a_reset(tmp_path: Path, house: House) -> None:
    """No increment is negative or huge, nor the power made of them; an ECC count that went back is told as it is."""
    (gpu,) = boards(1)
    gpu.update({"energy_mj": counter(10**12, WATTS * 1000), "field.197": counter(10**9, BYTES_A_SECOND)})
    gpu.set("ecc.corrected.volatile.dram", 77)
    with reporting(tmp_path, house, gpu) as stage:
        begun = stage.now()
        at = begun + 5
        gpu.update({
            "energy_mj": counter(10**12, WATTS * 1000, resets=[at]),
            "field.197": counter(10**9, BYTES_A_SECOND, resets=[at]),
        })  # fmt: skip
        gpu.at(at, "ecc.corrected.volatile.dram", 0)
        stage.write()
        assert stage.gpu(gpu)["metrics"]["ecc_dram_corrected_volatile"]["value"] == 77
        stage.pass_time(60)
        stage.goes_on()
        series, seconds = stage.series(gpu, *INCREMENTS, "power"), stage.now()
        stage.until("the ECC count", lambda: stage.gpu(gpu)["metrics"]["ecc_dram_corrected_volatile"]["value"] == 0)
    known = {name: [value for value in values if value is not None] for name, values in series.items()}
    assert all(known.values())
    assert all(value >= 0 for values in known.values() for value in values)
    # Of the interval of the reset what came before it is not known.
    assert 0.5 * WATTS * (seconds - 10) < sum(known["energy"]) < 1.02 * WATTS * seconds
    assert max(known["power"]) < 1.1 * WATTS
    assert set(stage.told()) == set()
