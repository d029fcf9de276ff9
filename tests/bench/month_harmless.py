"""What happens in the simulated month without being a fault, and what upgrades leave behind."""

from collections.abc import Iterable
from random import Random

from gpufleet_server.simulate.plan import OFFICE, SimNode

from tests.bench.month_story import CHANGE, HOUR, MINUTE, ONCE, Kind, Turn

_OURS = "our choice: no study tells a rate"
DRIVER, NEW_DRIVER = "580.95.05", "580.105.08"
AGENT, NEW_AGENT = "0.1.0", "0.4.0"
# When the fleet is upgraded: agents within some hours, drivers over two days, days of the month.
AGENTS_DAY, DRIVERS_DAY, DRIVERS_TAKE = 7.0, 11.0, 2.0
_APPLICATIONS = (13, 31, 43, 69)


def _driver(version: str) -> dict[str, str]:
    return {"driver_version": version, "fabric_manager_version": version, "kernel_module_version": version}


def _application(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=chance.choice(_APPLICATIONS), looks=ONCE)


def _program(chance: Random) -> Iterable[Turn]:
    code = chance.choice((13, 31))
    for _ in range(2):
        yield Turn(all_gpus=True, xid=code, looks=ONCE)


def _ignored(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=chance.choice((63, 43, 121)), metrics={"remapped_rows_correctable": 3.0}, looks=CHANGE)


def _blip(chance: Random) -> Iterable[Turn]:
    back = chance.choice((20.0, 35.0, 50.0, 80.0))
    yield Turn(sends=False, looks=tuple(at for at in (45.0, 75.0) if at < back))
    yield Turn(after=back, sends=True, looks=(0.0, 35.0))


def _restart(_: Random) -> Iterable[Turn]:
    yield Turn(sends=False, looks=(15.0,))
    yield Turn(after=25, sends=True, looks=ONCE)


def _planned(_: Random) -> Iterable[Turn]:
    yield Turn(window=40 * MINUTE, sends=False, looks=(120.0,))
    yield Turn(after=10 * MINUTE, sends=True, booted=True, looks=ONCE)


def _paused(chance: Random) -> Iterable[Turn]:
    yield Turn(driver="paused", detail="board is swapped", event=("paused", "board is swapped"))
    yield Turn(after=chance.uniform(1, 8) * HOUR, driver="ok", event=("resumed", "resumed"))


def _warm(chance: Random) -> Iterable[Turn]:
    short = chance.choice((60.0, 120.0, 200.0))
    hot = {"clock_event_reasons": 64.0, "gpu_temperature": 88.0, "temperature_margin": -1.0}
    yield Turn(metrics=hot, looks=(15.0,))
    yield Turn(after=short, well=True, looks=(0.0, 15.0, 300.0))


def _step_of_clock(_: Random) -> Iterable[Turn]:
    yield Turn(clock=2.0, looks=(15.0, 630.0))
    yield Turn(after=HOUR, clock=0.0)


def _crc(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"nvlink_crc_flit_errors": 20.0}, looks=CHANGE)


def _few_replays(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"pcie_replays": 60.0}, looks=CHANGE)


def _capped(_: Random) -> Iterable[Turn]:
    yield Turn(all_gpus=True, window=40 * MINUTE, sends=False, looks=(120.0,))
    yield Turn(after=10 * MINUTE, all_gpus=True, sends=True, booted=True, metrics={"power_limit": 600.0}, looks=CHANGE)
    yield Turn(after=14 * MINUTE, all_gpus=True, well=True, looks=CHANGE)


def _swapped(_: Random) -> Iterable[Turn]:
    yield Turn(window=HOUR, sends=False, looks=(120.0,))
    yield Turn(after=30 * MINUTE, sends=True, booted=True, replaced=True, looks=CHANGE)


def upgraded_agent(_: Random) -> Iterable[Turn]:
    """The agent is replaced by a newer one within seconds."""
    yield Turn(sends=False, looks=())
    yield Turn(after=15, sends=True, facts={"agent_version": NEW_AGENT}, looks=(0.0,))


def upgraded_driver(_: Random) -> Iterable[Turn]:
    """The driver is replaced and the node rebooted, while work on it is announced."""
    yield Turn(window=40 * MINUTE, sends=False, looks=(120.0,))
    yield Turn(after=12 * MINUTE, sends=True, booted=True, facts=_driver(NEW_DRIVER), looks=(0.0,))


def _left_behind(_: Random) -> Iterable[Turn]:
    yield Turn(facts=_driver(DRIVER), looks=())


def _old_vbios(_: Random) -> Iterable[Turn]:
    yield Turn(window=HOUR, sends=False, looks=(120.0,))
    yield Turn(after=30 * MINUTE, sends=True, booted=True, replaced=True, identity={"vbios_version": "90.00.00.00.01"})


def in_office(node: SimNode) -> bool:
    """Whether it is a workstation."""
    return node.site is OFFICE


def _rack(node: SimNode) -> bool:
    return not in_office(node)


def _linked(node: SimNode) -> bool:
    return node.model.nvlinks >= 12 and node.count == 8


HARMLESS = (
    Kind(name="a program's XID", a_month=600, source=_OURS, story=_application, besides=("xid_restart_app",)),
    Kind(name="a program's XID on all GPUs of a node", a_month=60, source=_OURS, story=_program, of_gpu=False,
         fits=_rack, finds=("xids_across_node",), within=30, besides=("xid_restart_app",)),
    Kind(name="XID to be ignored, a row remapped in time", a_month=120, source=_OURS, story=_ignored),
    Kind(name="network away for 20 to 80 s", a_month=90, source=_OURS, story=_blip, of_gpu=False, whole="rack"),
    Kind(name="agent restarted", a_month=120, source=_OURS, story=_restart, of_gpu=False),
    Kind(name="planned reboot in a window", a_month=150, source=_OURS, story=_planned, of_gpu=False),
    Kind(name="rack worked on, each node in a window", a_month=6, source=_OURS, story=_planned, of_gpu=False,
         whole="rack"),
    Kind(name="node paused for work", a_month=60, source=_OURS, story=_paused, of_gpu=False),
    Kind(name="hot for one to three minutes", a_month=90, source=_OURS, story=_warm),
    Kind(name="clock set by 2 s", a_month=30, source=_OURS, story=_step_of_clock, of_gpu=False),
    Kind(name="a few NVLink CRC errors", a_month=60, source=_OURS, story=_crc, fits=_linked),
    Kind(name="a few PCIe replays", a_month=60, source=_OURS, story=_few_replays),
    Kind(name="power limit set some minutes after a reboot", a_month=30, source=_OURS, story=_capped, of_gpu=False,
         fits=_linked),
    Kind(name="board replaced in a window", a_month=30, source=_OURS, story=_swapped),
)  # fmt: skip

LEFT_BEHIND = (
    Kind(name="driver not upgraded", a_month=3, source=_OURS, story=_left_behind, finds=("driver_drift",),
         within=(DRIVERS_TAKE + 1.5) * 24 * HOUR, of_gpu=False, fits=_linked, days=(DRIVERS_DAY, DRIVERS_DAY)),
    Kind(name="board with another VBIOS", a_month=3, source=_OURS, story=_old_vbios, finds=("vbios_drift",),
         within=28 * HOUR, of_gpu=False, fits=_linked, days=(1.0, 20.0)),
    Kind(name="agents of a site not upgraded", a_month=1, source=_OURS, story=lambda _: [Turn(looks=())],
         finds=("agent_outdated",), within=30 * HOUR, of_gpu=False, fits=in_office, whole="site",
         days=(AGENTS_DAY, AGENTS_DAY)),
)  # fmt: skip
