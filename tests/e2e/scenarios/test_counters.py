"""Counters of the driver that start again from zero."""

from pathlib import Path

from gpufleet_agent.catalogue import EVERY_SAMPLE, Kind

from tests.e2e.scenarios.stage import House, boards, reporting
from tests.nvml_sim.scenario import counter

WATTS = 500
INCREMENTS = [metric.name for metric in EVERY_SAMPLE if metric.kind is Kind.INCREMENT]


def test_a_reset(tmp_path: Path, house: House) -> None:
    """No increment is negative or huge, nor is the power made of them; an ECC count that went back is told as it is."""
    (gpu,) = boards(1)
    with reporting(tmp_path, house, gpu) as stage:
        at = stage.now() + 5
        gpu.update({
            "energy_mj": counter(10**12, WATTS * 1000, resets=[at]),
            "field.197": counter(10**9, 10**6, resets=[at]),
            "ecc.corrected.volatile.total": 77,
        })  # fmt: skip
        gpu.at(at, "ecc.corrected.volatile.total", 0)
        stage.write()
        stage.until("the reset", lambda: stage.now() > at + 3)
        stage.goes_on()
        series = stage.series(gpu, *INCREMENTS, "power")
    for name in INCREMENTS:
        known = [value for value in series[name] if value is not None]
        print(name, known)
    print(series["power"])
