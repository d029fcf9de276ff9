"""The board Node."""

from gpufleet_agent.catalogue import BY_NAME

from tests.dashboards.truth import facts, happened, single, use_of
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.single import Part


def _metric(name: str) -> Truth:
    return lambda seen: Expected(series=single.of_metric(seen, name), absolute=single.lost([name]))


def _cells(name: str) -> Truth:
    """The same by when intervals end: Grafana draws a cell of heat before its time."""

    def truth(seen: Seen) -> Expected:
        width = next(single.gpus(seen, seen.values("node"))).width
        series = {(at + width, *gpu): value for (at, *gpu), value in single.of_metric(seen, name).items()}
        return Expected(series=series, absolute=single.lost([name]))

    return truth


def _clocks(seen: Seen) -> Expected:
    return Expected(series=single.of_each(seen, held_down))


_LEVELS = (
    (3, ("hardware slowdown", "hardware thermal slowdown", "hardware power brake slowdown")),
    (2, ("software thermal slowdown",)),
    (1, ("software power cap",)),
)


def held_down(part: Part) -> float | None:
    """The gravest reason in an interval: 3 the hardware, 2 heat, 1 a power cap, 0 none of them."""
    bits = {word: bit for bit, word in BY_NAME["clock_event_reasons"].flags}
    flags = single.rolled("clock_event_reasons", part.values("clock_event_reasons"), part.seconds)
    if flags is None:
        return None
    levels = (level for level, words in _LEVELS if any(int(flags) & bits[word] for word in words))
    return float(next(levels, 0))


def _coverage(seen: Seen) -> Expected:
    some = list(single.gpus(seen, seen.values("node")))
    return Expected(series=single.coverage(seen, some, len(some[0].node.roster.gpus)))


def _here(seen: Seen, uuid: str | None) -> bool:
    return uuid in seen.values("node")


TRUTHS: dict[str, Truth] = {
    "Node": facts.of_node,
    "Its GPUs now": facts.gpus_now,
    "Use": lambda seen: Expected(series=single.of_each(seen, single.most_used)),
    "Who held them": use_of.bands_of_node,
    "Multiprocessors active": _cells("sm_active"),
    "A kernel ran": _cells("gpu_utilization"),
    "Memory used": _metric("fb_used"),
    "Power": _metric("power"),
    "Temperature": _metric("gpu_temperature"),
    "What held the clocks down": _clocks,
    "Coverage": _coverage,
    "Sent over NVLink": _metric("nvlink_tx_bytes"),
    "Received over NVLink": _metric("nvlink_rx_bytes"),
    "Sent over PCIe": _metric("pcie_tx_bytes"),
    "Received over PCIe": _metric("pcie_rx_bytes"),
    "Workloads": use_of.workloads_of_node,
    "Events": happened.events(lambda seen, each: _here(seen, each.node.node.id)),
    "Alerts": happened.alerts_of(lambda seen, each: _here(seen, each["node_uuid"])),
}
