"""The board Health."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from gpufleet_server.domain.xids import catalogue

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import alerting, happened, in_force, roster
from tests.dashboards.truth.happened import Happened
from tests.dashboards.truth.over_time import Told, of_metric, series, step_of, within
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.standing import at_end

_MINUTE = 60_000_000
_BAD = ("lost", "driver_failed", "not_reporting")
_SEVERITIES = ("critical", "warning", "info")
_FAULTS = ("xid", "sxid", "gpu_lost", "driver_unresponsive", "driver_failed", "driver_absent")
_ECC = ("ecc_sram_uncorrected", "ecc_dram_uncorrected")
# There are so many that only short intervals show them.
_FREQUENT, _SHORT = ("ecc_sram_corrected", "ecc_dram_corrected"), 30 * 60_000_000
_REMAPPED = (
    "remapped_rows_correctable", "remapped_rows_uncorrectable", "retired_pages_single_bit", "retired_pages_double_bit",
)  # fmt: skip
_WAITING = (
    "remap_pending", "remap_failed", "remap_banks_no_spares", "retirement_pending", "sram_threshold_exceeded",
    "recovery_action",
)  # fmt: skip
_GRAVE_REASONS = (
    "hardware slowdown", "hardware thermal slowdown", "hardware power brake slowdown", "software thermal slowdown",
)  # fmt: skip


def _now(seen: Seen) -> Expected:
    found = Counter(dict.fromkeys(_BAD, 0))
    for (*_, state), count in at_end(seen).items():
        found[state] += count
    return Expected(listing=[{state: found[state] for state in _BAD}])


# --- alerts ---------------------------------------------------------------------------------------------------------


def _open(seen: Seen, alert: dict[str, Any]) -> bool:
    """Alerts of nodes and GPUs, of what is chosen."""
    return alert["node_uuid"] is not None and alerting.of_chosen(seen, alert)


def _severities(seen: Seen) -> Expected:
    found = Counter(each["severity"] for each in alerting.firing(seen) if _open(seen, each))
    return Expected(listing=[{severity: found[severity] for severity in _SEVERITIES}])


def _by_rule(seen: Seen) -> Expected:
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for each in alerting.firing(seen):
        if _open(seen, each):
            groups[each["severity"], each["rule"]].append(each)
    listing = [
        {"severity": severity, "rule": rule, "alerts": len(some), "nodes": len({each["node_uuid"] for each in some}),
         "first": min(each["fired_at"] for each in some)}
        for (severity, rule), some in groups.items()
    ]  # fmt: skip
    return Expected(listing=listing)


# --- events ---------------------------------------------------------------------------------------------------------


def _events(seen: Seen) -> Iterator[Happened]:
    """Events of what is chosen; those of a node have no model."""
    for each in happened.every(seen):
        node = each.node.node
        if seen.is_chosen(node.site.name, node.model.name if each.gpu else None):
            yield each


def _xid_class(each: Happened) -> str:
    known = catalogue().xids.get(each.code or 0)
    return known.action.value if known else "unknown"


def _counted(name: Callable[[Happened], str], only: str | None = None) -> Truth:
    def truth(seen: Seen) -> Expected:
        width = seen.interval
        some = (each for each in _events(seen) if only in (None, each.kind))
        found = Counter((each.at // width * width, name(each)) for each in some)
        return Expected(series={key: [count] for key, count in found.items()})

    return truth


def _xids(seen: Seen) -> Expected:
    groups: dict[int | None, list[Happened]] = defaultdict(list)
    for each in _events(seen):
        if each.kind == "xid":
            groups[each.code].append(each)
    return Expected(listing=[_xid(code, some) for code, some in groups.items()])


def _xid(code: int | None, some: list[Happened]) -> dict[str, Any]:
    known = catalogue().xids.get(code or 0)
    return {
        "code": code, "xid_name": (known.meaning or known.mnemonic) if known else None,
        "xid_class": known.action.value if known else None, "xid_severity": known.severity.value if known else None,
        "events": len(some), "gpus": len({each.gpu for each in some}),
        "last": max(each.at for each in some),
    }  # fmt: skip


def _offenders(key: Callable[[Happened], str | None], shown: Callable[[Happened], dict[str, Any]]) -> Truth:
    """Whoever had faults in two minutes or more: what comes within a minute is one."""

    def truth(seen: Seen) -> Expected:
        groups: dict[str, list[Happened]] = defaultdict(list)
        for each in _events(seen):
            if each.kind in _FAULTS and (who := key(each)) is not None:
                groups[who].append(each)
        rows = [_offender(some) | shown(some[0]) for some in groups.values() if len(_minutes(some)) > 1]
        return Expected(listing=rows)

    return truth


def _minutes(some: Iterable[Happened]) -> set[int]:
    return {each.at // _MINUTE for each in some}


def _offender(some: list[Happened]) -> dict[str, Any]:
    grave = _minutes(each for each in some if _is_grave(each))
    which = {f"XID {each.code}" if each.code is not None else each.kind for each in some}
    return {
        "node": some[0].node.node.hostname, "grave": len(grave), "faults": len(_minutes(some)),
        "gpus": len({each.gpu for each in some} - {None}), "which": ", ".join(sorted(which)),
        "last": max(each.at for each in some), "node_uuid": some[0].node.node.id,
    }  # fmt: skip


def _is_grave(each: Happened) -> bool:
    known = catalogue().xids.get(each.code or 0)
    return each.kind != "xid" or known is None or known.severity.value != "info"


def _of_gpu(each: Happened) -> dict[str, Any]:
    told = next(gpu for _, told in reversed(each.node.rosters) for gpu in told.gpus if gpu.uuid == each.gpu)
    return {"position": each.position, "model": told.model, "serial": told.serial, "gpu": each.gpu}


def _of_node(each: Happened) -> dict[str, Any]:
    return {"site": each.node.node.site.name, "rack": each.node.node.rack}


# --- states ---------------------------------------------------------------------------------------------------------


def _gained(metrics: tuple[str, ...], frequent: tuple[str, ...] = ()) -> Truth:
    """By how much counters grew, from one value that was told to the next; whatever came first is no growth."""

    def truth(seen: Seen) -> Expected:
        found: dict[Any, float] = defaultdict(float)
        for node in seen.world.sent.nodes:
            if seen.is_chosen(node.node.site.name, node.node.model.name):
                for metric in (*metrics, *frequent) if seen.interval < _SHORT else metrics:
                    for at, growth in _growth(node, metric):
                        if seen.begin <= at < seen.end:
                            found[at // seen.interval * seen.interval, metric] += growth
        return Expected(series={key: [total] for key, total in found.items()})

    return truth


def _growth(node: SentNode, metric: str) -> Iterator[tuple[int, float]]:
    before: dict[str, int] = {}
    for state in node.states:
        if state.metric == metric:
            stored = state.stored if state.stored >= BY_NAME[metric].lowest + RESERVED else None
            if stored is not None and stored > 0:
                yield state.at, max(stored - before.get(state.gpu, stored), 0)
            if stored is not None:
                before[state.gpu] = stored


def _waiting(seen: Seen) -> Expected:
    listing = []
    for node in seen.world.sent.nodes:
        if seen.is_chosen(node.node.site.name, node.node.model.name):
            rosters = [told for when, told in node.rosters if when < seen.end]
            there_then = {gpu.uuid for gpu in rosters[-1].gpus} if rosters else set()
            for place, uuid in enumerate(node.uuids):
                if uuid not in there_then:
                    continue
                known = {metric: _last(node, uuid, metric, seen.end) for metric in _WAITING}
                there = {metric: each for metric, each in known.items() if each is not None and each[1]}
                if there:
                    listing.append(_waits(node, place, there))
    return Expected(listing=listing)


def _last(node: SentNode, uuid: str, metric: str, until: int) -> tuple[int, float | None] | None:
    known = [each for each in node.states if each.gpu == uuid and each.metric == metric and each.at < until]
    return (known[-1].at, in_force.of_states(known)) if known else None


def _waits(node: SentNode, place: int, there: dict[str, tuple[int, float | None]]) -> dict[str, Any]:
    asked = there.get("recovery_action")
    return {
        "site": node.node.site.name, "node": node.node.hostname, "position": place, "model": node.node.model.name,
        "what": ", ".join(sorted(there)), "recovery_action": asked[1] if asked else None,
        "since": min(at for at, _ in there.values()), "node_uuid": node.node.id, "gpu": node.uuids[place],
    }  # fmt: skip


# --- clocks ---------------------------------------------------------------------------------------------------------


def _held_down(metric: str) -> Truth:
    return lambda seen: Expected(
        series=series(seen, ["model"], of_metric(metric), lambda each: each.share("total", "known"))
    )


def _told(each: Told) -> float | None:
    return min(1.0, each["known"] / (each.seconds * each.owned)) if each.owned else None


def _reasons(seen: Seen) -> Expected:
    """In how many steps any GPU of a model told a reason, of those with anything of that model."""
    step = step_of(seen.interval, whole=True)
    rows, begins = within(seen, step)
    bits = {word: bit for bit, word in BY_NAME["clock_event_reasons"].flags}
    flags, models = np.nan_to_num(rows.values("clock_event_reasons")).astype(np.int64), rows.named("model")
    listing = []
    for model in np.unique(models):
        total = len(np.unique(begins[models == model]))
        for word in _GRAVE_REASONS:
            some = np.unique(begins[(models == model) & (flags & bits[word] != 0)])
            if len(some):
                listing.append({
                    "model": str(model), "flag": word, "seconds": len(some) * step / 1e6, "share": len(some) / total,
                    "last": int(some.max()),
                })  # fmt: skip
    return Expected(listing=listing)


def _drift(version: Callable[[SentNode, Any], str | None]) -> Truth:
    def truth(seen: Seen) -> Expected:
        found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for node, _, gpu in roster.gpus(seen):
            found[gpu.model or "(none)"][version(node, gpu) or "(none)"].append(node.node.id)
        listing = [
            {"model": model, "version": each, "gpus": len(nodes), "nodes": len(set(nodes)),
             "share": len(nodes) / sum(map(len, versions.values()))}
            for model, versions in found.items()
            if len(versions) > 1
            for each, nodes in versions.items()
        ]  # fmt: skip
        return Expected(listing=listing)

    return truth


TRUTHS: dict[str, Truth] = {
    "GPUs that are not well": _now,
    "Open alerts of nodes and GPUs": _severities,
    "Open alerts by rule": _by_rule,
    "Waiting for somebody": _waiting,
    "Events by kind": _counted(lambda each: each.kind),
    "XIDs by what to do": _counted(_xid_class, "xid"),
    "XIDs by code": _xids,
    "GPUs, again and again": _offenders(lambda each: each.gpu, _of_gpu),
    "Nodes, again and again": _offenders(lambda each: each.node.node.id, _of_node),
    "ECC errors gained": _gained(_ECC, _FREQUENT),
    "Rows remapped and pages retired": _gained(_REMAPPED),
    "Clocks held down by a power limit": _held_down("clocks_held_by_power"),
    "Clocks held down by heat": _held_down("clocks_held_by_heat"),
    "Clocks held down by the power brake": _held_down("clocks_held_by_power_brake"),
    "Who tells": lambda seen: Expected(
        series=series(seen, ["model"], of_metric("clocks_held_by_heat"), _told, owned=True)
    ),
    "Heat, the hardware and the power brake": _reasons,
    "Driver, more than one of a model": _drift(lambda node, _: node.roster.host.driver_version),
    "VBIOS, more than one of a model": _drift(lambda _, gpu: gpu.vbios_version),
    "Alerts": happened.alerts_of(_open),
}
