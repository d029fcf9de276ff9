"""What is asked of a fleet's store: by the API's own functions, over HTTP, with psql, and in PromQL where that can."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from gpufleet_agent.catalogue import BY_NAME, METRICS
from gpufleet_server.domain import times
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import buckets, events, fleet, fleet_history, gpus, nodes, quantiles, series
from gpufleet_server.queries.events import EventFilter
from gpufleet_server.queries.filters import FleetFilter, GpuFilter, NodeFilter
from gpufleet_server.simulate.identity import gpu_uuid
from gpufleet_server.store.tiers import DAY, HOUR
from sqlalchemy import Connection, text

from tests.bench.query_fleet import MINUTE, PER_NODE, WATCHED_MS, QueryFleet

# What a panel of a node shows.
PANEL = ("gpu_utilization", "power", "gpu_temperature", "fb_used")
By = Literal["site", "model"]
_QUANTILES = (0.5, 0.95, 0.99)
_EVERYTHING = FleetFilter()
_NO_INVENTORY = "it holds series, no inventory and no events"
_NO_CATALOGUE = "its handful of metrics is not all of them"
_NO_VIEW = "a view of gpufleet's"
_NO_USE = "the use of a GPU in each sample is not a series"


@dataclasses.dataclass(frozen=True, slots=True)
class PromQL:
    """Queries as of `end` (µs) that together answer; over `length` µs in steps of `step`, or at once where that is 0.

    `reach` is how far back (µs) they look.
    """

    queries: Sequence[str]
    end: int
    reach: int
    step: int = 0


class Draw:
    """The parameters of one asking: the same ones for all who are asked, other ones the next time."""

    def __init__(self, of: QueryFleet, number: int, cursors: tuple[str | None, str | None] = (None, None)) -> None:
        chance = random.Random(number)
        self.of, self.cursors = of, cursors
        self.now = of.scope.now
        self.end = of.scope.now - chance.randrange(10) * MINUTE
        self.number = chance.choice(of.watched)
        self.any_number = chance.randrange(len(of.nodes))
        self.slot = chance.randrange(PER_NODE)

    @property
    def hostname(self) -> str:
        """Of a node with samples of its own."""
        return self.of.nodes[self.number].hostname

    @property
    def gpu(self) -> str:
        """The UUID of a GPU with samples of its own."""
        return gpu_uuid(self.of.nodes[self.number], self.slot)

    @property
    def any_node(self) -> str:
        """The hostname of any node."""
        return self.of.nodes[self.any_number].hostname

    @property
    def any_gpu(self) -> str:
        """The UUID of any GPU."""
        return gpu_uuid(self.of.nodes[self.any_number], self.slot)


_Ask = Callable[[Connection, Draw], int]
_Http = Callable[[Draw], tuple[str, dict[str, Any]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `ask` gives how many rows or points came. `promql` may be why there is none."""

    name: str
    ask: _Ask
    http: _Http | None
    promql: Callable[[Draw], PromQL] | str
    psql: bool = False


def cursors(connection: Connection, of: QueryFleet, number: int) -> tuple[str | None, str | None]:
    """The places in the listings of GPUs and nodes behind some node: where a page deep in them begins."""
    draw = Draw(of, number)
    # A cursor is a place in the order; it does not matter by what listing it was found.
    gpu = gpus.listing(connection, GpuFilter(node=[draw.any_node]), draw.now, limit=PER_NODE - 1).next
    sites = sorted({node.site.name for node in of.nodes})
    after = [node.hostname for node in of.nodes if node.site.name == sites[-1]][:1]
    node = nodes.listing(connection, NodeFilter(node=[draw.any_node, *after]), draw.now, limit=1).next
    return gpu, node


def questions() -> Iterator[Question]:
    """Every question."""
    for length, word in ((HOUR, "1h"), (DAY, "24h"), (30 * DAY, "30d")):
        yield _history(f"utilization_by_model_{word}", "gpu_utilization", "model", length)
        yield _history(f"utilization_by_site_{word}", "gpu_utilization", "site", length)
    for length, word, step in ((HOUR, "1h", HOUR), (DAY, "24h", HOUR), (30 * DAY, "30d", DAY)):
        yield _energy(f"energy_by_site_{word}", length, step)
    for length, word in ((DAY, "24h"), (30 * DAY, "30d")):
        yield _use(f"gpu_hours_by_use_{word}", length)
    yield Question("summary", _summary, lambda _: ("/summary", {}), _summary_in_promql)
    yield _quantiles("temperature_quantiles_by_site", "site")
    yield _quantiles("temperature_quantiles_by_model", "model")
    yield from _listings()
    yield from _of_one()
    yield from _by_hand()


# --- the fleet -----------------------------------------------------------------------------------------------------


def _history(name: str, metric: str, by: By, length: int) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        over = fleet_history.grid(draw.end - length, draw.end, None)
        found = fleet_history.history(connection, BY_NAME[metric], by, _EVERYTHING, over)
        return sum(value is not None for line in found.lines for value in line.values)

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        return "/fleet/history", {"metric": metric, "by": by} | _range(draw.end - length, draw.end)

    def promql(draw: Draw) -> PromQL:
        step = fleet_history.grid(draw.end - length, draw.end, None).step
        return PromQL([f"avg by ({by}) (avg_over_time(gpufleet_{metric}[{step // 10**6}s]))"], draw.end, length, step)

    return Question(name, ask, http, promql)


def _energy(name: str, length: int, step: int) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        over = fleet_history.grid(draw.end - length, draw.end, step)
        found = fleet_history.history(connection, BY_NAME["energy"], "site", _EVERYTHING, over)
        return sum(value is not None for line in found.lines for value in line.values)

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        given = {"metric": "energy", "by": "site", "step": step // 10**6}
        return "/fleet/history", given | _range(draw.end - length, draw.end)

    def promql(draw: Draw) -> PromQL:
        return PromQL([f"sum by (site) (increase(gpufleet_energy[{length // 10**6}s]))"], draw.end, length)

    return Question(name, ask, http, promql)


def _use(name: str, length: int) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        return len(fleet_history.use_hours(connection, "site", _EVERYTHING, draw.end - length, draw.end))

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        return "/fleet/use", {"by": "site"} | _range(draw.end - length, draw.end)

    return Question(name, ask, http, _NO_USE)


def _summary(connection: Connection, draw: Draw) -> int:
    found = fleet.overview(connection, _EVERYTHING, draw.now)
    return len(found.groups) * len(found.nodes) * len(events.by_kind(connection, _EVERYTHING, draw.now - DAY))


def _summary_in_promql(draw: Draw) -> PromQL:
    whole = ("count(gpufleet_power) by (site, model)", "sum(gpufleet_power) by (site, model)")
    means = ("avg(gpufleet_gpu_utilization) by (site, model)", "sum(gpufleet_fb_used) by (site, model)")
    return PromQL([*whole, *means], draw.end, 5 * MINUTE)


def _quantiles(name: str, by: By) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        metric = BY_NAME["gpu_temperature"]
        return len(quantiles.quantiles(connection, metric, _EVERYTHING, draw.now, of=_QUANTILES, by=by))

    def http(_: Draw) -> tuple[str, dict[str, Any]]:
        return "/fleet/quantiles", {"metric": "gpu_temperature", "by": by, "q": list(_QUANTILES)}

    def promql(draw: Draw) -> PromQL:
        shares = ", ".join(map(str, _QUANTILES))
        return PromQL([f'quantiles("q", {shares}, gpufleet_gpu_temperature) by ({by})'], draw.end, 5 * MINUTE)

    return Question(name, ask, http, promql)


# --- listings ------------------------------------------------------------------------------------------------------


def _listings() -> Iterator[Question]:
    yield _gpus("gpus_first_page", {})
    yield Question("gpus_deep_page", _deep_gpus, lambda draw: ("/gpus", {"cursor": draw.cursors[0]}), _NO_INVENTORY)
    yield _gpus("gpus_search", {"limit": 20}, promql=_NO_INVENTORY, search=True)
    yield _gpus("worst_twenty_hot", {"sort": "-gpu_temperature", "limit": 20}, "topk(20, gpufleet_gpu_temperature)")
    yield _gpus(
        "least_utilised_twenty", {"sort": "gpu_utilization", "limit": 20}, "bottomk(20, gpufleet_gpu_utilization)"
    )
    idle = "limitk(100, gpufleet_gpu_utilization < 1 and on (uuid) gpufleet_fb_used {} 1073741824)"
    yield _gpus("gpus_held", {"use": "held"}, idle.format(">"))
    yield _gpus("gpus_free", {"use": "free"}, idle.format("<="))
    yield Question("nodes_first_page", _nodes, lambda _: ("/nodes", {}), _NO_INVENTORY)
    yield Question("nodes_deep_page", _deep_nodes, lambda draw: ("/nodes", {"cursor": draw.cursors[1]}), _NO_INVENTORY)
    yield Question("events_newest", _events, lambda _: ("/events", {}), _NO_INVENTORY)
    yield Question("events_xid", _xids, lambda _: ("/events", {"kind": "xid", "code": 79}), _NO_INVENTORY)


def _gpus(
    name: str, given: dict[str, Any], query: str = "", *, promql: str = _NO_INVENTORY, search: bool = False
) -> Question:
    uses = [Use[given["use"].upper()]] if "use" in given else []

    def ask(connection: Connection, draw: Draw) -> int:
        wanted = GpuFilter(use=uses, q=draw.any_node if search else None)
        limit, sort = given.get("limit", 100), given.get("sort", "site")
        return len(gpus.listing(connection, wanted, draw.now, limit=limit, sort=sort).items)

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        return "/gpus", given | ({"q": draw.any_node} if search else {})

    return Question(name, ask, http, (lambda draw: PromQL([query], draw.end, 5 * MINUTE)) if query else promql)


def _deep_gpus(connection: Connection, draw: Draw) -> int:
    return len(gpus.listing(connection, GpuFilter(), draw.now, limit=100, cursor=draw.cursors[0]).items)


def _nodes(connection: Connection, draw: Draw) -> int:
    return len(nodes.listing(connection, NodeFilter(), draw.now, limit=100).items)


def _deep_nodes(connection: Connection, draw: Draw) -> int:
    return len(nodes.listing(connection, NodeFilter(), draw.now, limit=100, cursor=draw.cursors[1]).items)


def _events(connection: Connection, _: Draw) -> int:
    events.last_id(connection)
    return len(events.listing(connection, EventFilter(), limit=100).items)


def _xids(connection: Connection, _: Draw) -> int:
    return len(events.listing(connection, EventFilter(kind=["xid"], code=[79]), limit=100).items)


# --- a node, a GPU -------------------------------------------------------------------------------------------------


def _of_one() -> Iterator[Question]:
    yield Question("node_now", _node, lambda draw: (f"/nodes/{draw.any_node}", {}), _NO_INVENTORY)
    yield Question("gpu_now", _gpu, lambda draw: (f"/gpus/{draw.any_gpu}", {}), _NO_CATALOGUE)
    yield _node_hour("node_hour_panel", PANEL)
    yield _node_hour("node_hour_all_metrics", tuple(metric.name for metric in METRICS))
    yield _gpu_over("gpu_day", DAY)
    yield _gpu_over("gpu_month", 30 * DAY)


def _node(connection: Connection, draw: Draw) -> int:
    return len(gpus.of_node(connection, nodes.one(connection, draw.any_node, draw.now).node_id, draw.now))


def _gpu(connection: Connection, draw: Draw) -> int:
    return len(gpus.one(connection, draw.any_gpu, draw.now).gpu.metrics)


def _node_hour(name: str, metrics: tuple[str, ...]) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        node = nodes.one(connection, draw.hostname, draw.now)
        over = buckets.grid(draw.end - HOUR, draw.end, None, node.interval_ms)
        found = series.of_node(connection, node.node_id, over, [BY_NAME[metric] for metric in metrics])
        return sum(sum(one.observed) > 0 for _, _, one in found)

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        named = {"metrics": ",".join(metrics)} if len(metrics) < len(METRICS) else {}
        return f"/nodes/{draw.hostname}/samples", named | _range(draw.end - HOUR, draw.end)

    def promql(draw: Draw) -> PromQL:
        wanted = "|".join(f"gpufleet_{metric}" for metric in metrics)
        return PromQL([f'{{__name__=~"{wanted}", hostname="{draw.hostname}"}}'], draw.end, HOUR, MINUTE)

    return Question(name, ask, http, promql if metrics == PANEL else _NO_CATALOGUE)


def _gpu_over(name: str, length: int) -> Question:
    def ask(connection: Connection, draw: Draw) -> int:
        gpu = gpus.locate(connection, draw.gpu, draw.now)
        over = buckets.grid(draw.end - length, draw.end, None, gpu.interval_ms)
        found = series.stepped(connection, gpu.gpu_id, over, [BY_NAME[metric] for metric in PANEL])
        return sum(observed > 0 for observed in found.observed)

    def http(draw: Draw) -> tuple[str, dict[str, Any]]:
        return f"/gpus/{draw.gpu}/samples", {"metrics": ",".join(PANEL)} | _range(draw.end - length, draw.end)

    def promql(draw: Draw) -> PromQL:
        step = buckets.grid(draw.end - length, draw.end, None, WATCHED_MS).step
        wanted = "|".join(f"gpufleet_{metric}" for metric in PANEL)
        over = f'avg_over_time({{__name__=~"{wanted}", uuid="{draw.gpu}"}}[{step // 10**6}s])'
        return PromQL([over], draw.end, length, step)

    return Question(name, ask, http, promql)


# --- by hand -------------------------------------------------------------------------------------------------------


def _by_hand() -> Iterator[Question]:
    day = text(
        "SELECT ts, gpu_temperature FROM samples WHERE gpu = :gpu AND ts > to_timestamp(:begin) "
        "AND span >= gpufleet_micros(to_timestamp(:begin) - interval '1 hour') ORDER BY ts"
    )
    week = text(
        "SELECT ts, gpu_temperature, active, held FROM hourly_rollups WHERE gpu = :gpu AND ts > to_timestamp(:begin) "
        "AND span >= gpufleet_micros(to_timestamp(:begin) - interval '1 day') ORDER BY ts"
    )
    for name, query, length in (("psql_gpu_day", day, DAY), ("psql_gpu_week_hourly", week, 7 * DAY)):
        yield Question(name, _by_view(query, length), None, _NO_VIEW, psql=True)


def _by_view(query: Any, length: int) -> _Ask:
    def ask(connection: Connection, draw: Draw) -> int:
        return len(connection.execute(query, {"gpu": draw.gpu, "begin": (draw.now - length) / 1e6}).all())

    return ask


def _range(start: int, end: int) -> dict[str, str]:
    return {"start": times.iso(start), "end": times.iso(end)}
