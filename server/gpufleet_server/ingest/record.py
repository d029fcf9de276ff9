"""Writes the reports of a commit into the store, inside the caller's transaction."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import Connection, insert

from gpufleet_server.domain.clock import SECOND, turned_large
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest import changes, happened, in_force, newest, recent, standing, usage
from gpufleet_server.ingest.cells import Cells, Placed, cells
from gpufleet_server.ingest.columns import Matrix
from gpufleet_server.ingest.load import check_unmeasured, load
from gpufleet_server.ingest.memory import Memory, Node
from gpufleet_server.ingest.minutes import add_to_minutes
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.ingest.roster import Difference, Told, add_gpus, update_rosters
from gpufleet_server.ingest.statistics import Tally
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.schema import partitions, states
from gpufleet_server.store.tiers import recent as recent_table

Outcome = wire.Ack | Problem

# Each round stores at least one report of each node that no other server writes to at the same time.
_MOST_ROUNDS = 50


@dataclasses.dataclass(slots=True)
class Batch:
    """Reports whose values have been checked. `values` holds those of all their blocks, `begins` the first of each."""

    reports: Sequence[Prepared]
    values: Matrix
    begins: Sequence[int]


@dataclasses.dataclass(slots=True)
class _Taken:
    """A report that is to be stored. `before`, `after`: the clock's correction, µs."""

    number: int
    prepared: Prepared
    node: Node
    before: int
    after: int
    differences: list[Difference] = dataclasses.field(default_factory=list)
    roster_wanted: bool = False

    @property
    def at(self) -> int:
        """When it was made, corrected."""
        return self.prepared.report.created.wall + self.after


def record(connection: Connection, memory: Memory, batch: Batch, now: int) -> tuple[list[Outcome], Tally]:
    """Store reports, or find that they are stored already: an answer to each, and what was added.

    Where it fails, or is not committed, `memory` must forget the nodes of all of them.
    """
    outcomes: dict[int, Outcome] = {}
    tally, waiting, stored = Tally(), list(range(len(batch.reports))), list[Cells]()
    for _ in range(_MOST_ROUNDS):
        load(connection, memory, [batch.reports[number] for number in waiting])
        taken, answered = _take(memory, batch.reports, waiting)
        stale = _compare_and_set(connection, memory, taken)
        taken = [each for each in taken if each.node.uuid not in stale]
        stored.append(_store(connection, memory, batch, taken, tally))
        outcomes |= {number: answer for number, answer in answered.items() if _node(batch, number) not in stale}
        outcomes |= {each.number: _ack(each.prepared, each.node, each.roster_wanted) for each in taken}
        waiting = [number for number in waiting if number not in outcomes]
        if not waiting:
            break
    add_to_minutes(connection, memory, stored, now)
    busy = Problem(503, "other servers write to this node at the same time", retry_after=1)
    return [outcomes.get(number, busy) for number in range(len(batch.reports))], tally


def _node(batch: Batch, number: int) -> str:
    return batch.reports[number].report.node


def _take(
    memory: Memory, reports: Sequence[Prepared], waiting: Iterable[int]
) -> tuple[list[_Taken], dict[int, Outcome]]:
    """Which reports to store in this round, and the answers to those that are not to be stored at all."""
    taken: list[_Taken] = []
    answered: dict[int, Outcome] = {}
    told: set[str] = set()
    later: set[str] = set()
    for number in waiting:
        prepared = reports[number]
        report, node = prepared.report, memory.nodes.get(prepared.report.node)
        # A roster is compared with the one before it, which has to be stored for that.
        if report.node in later or (report.roster is not None and report.node in told):
            later.add(report.node)
        elif node is not None and report.seq <= node.streams.get(report.stream, 0):
            answered[number] = _ack(prepared, node, roster_wanted=_lacks_roster(prepared, node), duplicate=True)
        elif (problem := _overlap(report, node) or _too_early(prepared, node)) is not None:
            answered[number] = problem
        elif node is not None:
            taken.append(_taken(number, prepared, node))
            if report.roster is not None:
                told.add(report.node)
    return taken, answered


def _overlap(report: wire.Report, node: Node | None) -> Problem | None:
    """Why a joined report is not taken: an abandoned request with some of what is in it was committed after all."""
    last = node.streams.get(report.stream, 0) if node is not None else 0
    if report.first > last:
        return None
    problem = f"reports {report.first} to {report.seq} came as one, and those up to {last} are stored already"
    return Problem(409, problem, "first_seq", more={"last_seq": last})


def _too_early(prepared: Prepared, node: Node | None) -> Problem | None:
    try:
        check_unmeasured(prepared, node.clock_offset if node is not None else 0)
    except Problem as problem:
        return problem
    return None


def _taken(number: int, prepared: Prepared, node: Node) -> _Taken:
    report, before = prepared.report, node.clock_offset
    if prepared.measured is not None:
        large = report.first < report.seq
        node.correction, node.measured = node.correction.after(prepared.measured, large=large), prepared.measured
    node.streams[report.stream] = report.seq
    if report.roster is not None:
        node.roster_digest = report.roster_digest or wire.digest(report.roster)
    return _Taken(number, prepared, node, before, node.clock_offset)


def _compare_and_set(connection: Connection, memory: Memory, taken: Sequence[_Taken]) -> set[str]:
    """Lock the nodes and write how they stand; those of which the memory was out of date are forgotten."""
    last = {each.node.node_id: each for each in taken}
    rows = [standing.row(each.node, each.prepared) for _, each in sorted(last.items())]
    lost = standing.compare_and_set(connection, rows)
    stale = {last[node_id].node.uuid for node_id in lost}
    for each in last.values():
        each.node.version += 1
    for uuid in stale:
        memory.forget(uuid)
    return stale


def _store(connection: Connection, memory: Memory, batch: Batch, taken: Sequence[_Taken], tally: Tally) -> Cells:
    _rosters(connection, memory, taken)
    _unseen_gpus(connection, memory, taken)
    found = _samples(connection, memory, batch, taken, tally)
    told = [usage.Told(each.node, each.prepared, each.after) for each in taken]
    tally.usage += usage.write(connection, memory, told)
    came = [row for each in taken for row in _events(each)]
    tally.events += happened.write(connection, came)
    tally.happened.update((row["kind"], row["node_id"]) for row in came)
    last = {(each.node.node_id, each.prepared.report.stream): each.prepared for each in taken}
    numbers = (prepared.report.seq for prepared in last.values())
    standing.write_streams(
        connection,
        [(*key, seq, each.received_at) for (key, each), seq in zip(last.items(), numbers, strict=True)],
    )
    return found


def _rosters(connection: Connection, memory: Memory, taken: Sequence[_Taken]) -> None:
    told = [
        (each, Told(each.node, report.roster, each.at, report.driver.state == "ok"))
        for each in taken
        if (report := each.prepared.report).roster is not None
    ]
    if told:
        differences = update_rosters(connection, memory, [roster for _, roster in told])
        for (each, _), found in zip(told, differences, strict=True):
            each.differences = found


def _unseen_gpus(connection: Connection, memory: Memory, taken: Sequence[_Taken]) -> None:
    unseen: dict[tuple[str, str], tuple[Node, dict[str, Any]]] = {}
    for each in taken:
        node = each.node
        each.roster_wanted = _lacks_roster(each.prepared, node)
        for gpus in _named(each.prepared.report):
            for uuid in gpus if node.lacks(gpus) else ():
                if uuid not in node.gpus:
                    row = {"uuid": uuid, "identity": {}, "first_seen": each.at}
                    unseen.setdefault((node.uuid, uuid), (node, row))
    add_gpus(connection, memory, list(unseen.values()))
    _unseen_partitions(connection, taken)


def _unseen_partitions(connection: Connection, taken: Sequence[_Taken]) -> None:
    """Give partitions a row of which no roster has told; of which GPU they are it will."""
    unseen: dict[tuple[int, str], dict[str, Any]] = {}
    for each in taken:
        node = each.node
        for uuid in itertools.chain(*(samples.gpus for samples in each.prepared.report.partition_samples)):
            if uuid not in node.partitions:
                slot = node.partitions[uuid] = node.next_slot
                row = {"node_id": node.node_id, "uuid": uuid, "slot": slot, "facts": {}, "first_seen": each.at}
                unseen[node.node_id, uuid] = row
    if unseen:
        connection.execute(insert(partitions), list(unseen.values()))


def _named(report: wire.Report) -> list[list[str]]:
    """The GPUs that samples, states, events and usage are of."""
    named = [samples.gpus for samples in report.samples]
    if report.states:
        named.append(list({state.gpu for state in report.states}))
    if report.events:
        named.append(list({event.gpu for event in report.events if event.gpu is not None}))
    if report.usage:
        named.append(list({piece.gpu for piece in report.usage}))
    return named


def _samples(connection: Connection, memory: Memory, batch: Batch, taken: Sequence[_Taken], tally: Tally) -> Cells:
    placed: list[Placed] = []
    numbers: list[int] = []
    for each in taken:
        for number, block in enumerate(each.prepared.blocks, batch.begins[each.number]):
            numbers.append(number)
            placed.append(Placed(each.node, each.node.laid_out(block.samples.gpus), block, each.after))
    found = cells(memory.gpus, placed, batch.values.take(numbers))
    kept = (*placed, *(part for each in taken for part in _partitions_placed(each)))
    insert_rows(connection, recent_table, recent.COLUMNS, [row for each in kept for row in recent.rows(each)])
    uses = found.uses.tobytes()
    renewed = {
        each.node.node_id: each.node
        for each, begin in zip(placed, found.values.begins, strict=True)
        if newest.renew(each, uses[begin : begin + each.block.cells])
    }
    newest.write(connection, [node for _, node in sorted(renewed.items())])
    told, changed = [], list[Node]()
    for each in taken:
        if values := list(_values(memory, each, tally)):
            told += values
            changed.append(each.node)
    in_force.write(connection, memory.gpus, changed)
    told += changes.absences(memory.gpus, found)
    if told:
        insert_rows(connection, states, changes.COLUMNS, told)
    tally.samples += len(found.ts)
    tally.values += int(found.values.absent.size - found.values.absent.sum())
    tally.states += len(told)
    return found


def _partitions_placed(taken: _Taken) -> Iterator[Placed]:
    """Samples of partitions: kept as blocks, and in none of what is counted by GPU."""
    for block in taken.prepared.partition_blocks:
        yield Placed(taken.node, taken.node.partitions_laid_out(block.samples.gpus), block, taken.after)


def _values(memory: Memory, taken: _Taken, tally: Tally) -> Iterator[changes.Row]:
    if taken.prepared.unknown:
        tally.unknown_metrics.update(taken.prepared.unknown)
    reported = taken.prepared.report.states
    if reported:
        tally.unknown_metrics.update(state.metric for state in reported if state.metric not in BY_NAME)
        yield from changes.values(memory.gpus, taken.node, reported, taken.after)


def _lacks_roster(prepared: Prepared, node: Node) -> bool:
    """Whether the agent is to be asked for its roster."""
    report = prepared.report
    if report.roster is not None:
        return False
    if report.roster_digest != node.roster_digest or any(node.lacks(samples.gpus) for samples in report.samples):
        return True
    if any(uuid not in node.partitions for samples in report.partition_samples for uuid in samples.gpus):
        return True
    return node.lacks([*(state.gpu for state in report.states), *(piece.gpu for piece in report.usage)])


def _ack(prepared: Prepared, node: Node, roster_wanted: bool, *, duplicate: bool = False) -> wire.Ack:
    return wire.Ack(
        seq=prepared.report.seq,
        duplicate=duplicate,
        roster_wanted=roster_wanted,
        clock_offset=node.clock_offset if prepared.measured is None else prepared.measured,
        server_time=prepared.received_at,
        joins=True,
    )


def _events(taken: _Taken) -> Iterator[dict[str, Any]]:
    report = taken.prepared.report
    for event in report.events:
        yield _event(taken, event, event.at) | {"code": event.code, "source": event.source}
    for difference in (*taken.differences, *_clock(taken.before, taken.after)):
        yield _event(taken, difference, report.created.wall) | {"code": None, "source": "server"}


def _event(taken: _Taken, told: wire.Event | Difference, at: int) -> dict[str, Any]:
    return {
        "node_id": taken.node.node_id,
        "gpu_id": taken.node.gpus[told.gpu].gpu_id if told.gpu is not None else None,
        "partition": told.partition,
        "ts": at + taken.after,
        "kind": told.kind,
        "message": told.message[:2048],
        "detail": told.detail,
        "received_at": taken.prepared.received_at,
    }


def _clock(before: int, after: int) -> Iterator[Difference]:
    if turned_large(before, after):
        way = "behind" if after > 0 else "ahead of"
        text = f"the node's clock is {abs(after) / SECOND:.1f} s {way} the server's; its times are corrected"
        yield Difference("clock_offset", text, detail={"offset_s": after / SECOND})
