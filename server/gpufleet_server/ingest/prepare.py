"""A body becomes a report that may be stored, but for its values, which are checked for many reports at once."""

import dataclasses

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE

from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest import check
from gpufleet_server.ingest.columns import Block, unknown
from gpufleet_server.ingest.request import check_node, understood

# What a state, an event, and a holder or a piece of usage takes in memory, about.
_STATE, _EVENT, _USAGE = 200, 600, 400
# A sample with all its metrics: what is not sent of it is filled in.
_CELL = sum(metric.width for metric in EVERY_SAMPLE)


@dataclasses.dataclass(slots=True)
class Prepared:
    """A checked report with its blocks of samples, of GPUs and of partitions.

    `measured` is the clock offset in µs, None where the request did not tell its clock.
    `unknown`: columns of metrics that this server does not know. `size`: about how many bytes of memory it takes.
    `lay`: how long it lay with its agent before it came, µs; 0 where that is not known.
    """

    report: wire.Report
    blocks: list[Block]
    partition_blocks: list[Block]
    unknown: list[str]
    measured: int | None
    hostname: str
    received_at: int
    size: int
    lay: int


def prepare(body: bytes, sent: wire.Clock | None, token_node: str | None, hostname: str, now: int) -> Prepared:
    """Decode and check a body. Problem says what is wrong with it; nothing of it may be stored then.

    `hostname` is what the node was enrolled as: it names a node whose roster has not come yet.
    """
    with understood():
        report = wire.decode(body)
    check_node(token_node, report.node)
    measured = check.measure(report.created, sent, now) if sent is not None else None
    if measured is not None:
        check.check_created(report.created, measured, now)
    check.check_times(report)
    check.check_states(report.states)
    check.check_usage(report)
    others = list(unknown(report.samples + report.partition_samples))
    if any(name in BY_NAME for name in others):
        _refuse_states(report)
    blocks = _blocks(report.samples, "samples")
    partition_blocks = _blocks(report.partition_samples, "partition_samples")
    check.check_blocks(report, blocks + partition_blocks)
    size = len(body) + _size(report, blocks + partition_blocks)
    lay = now - report.created.wall - measured if measured is not None else 0
    return Prepared(report, blocks, partition_blocks, others, measured, hostname, now, size, lay)


def _blocks(given: list[wire.Samples], field: str) -> list[Block]:
    return [Block(samples, f"{field}[{number}]") for number, samples in enumerate(given)]


def _size(report: wire.Report, blocks: list[Block]) -> int:
    columns = sum(sum(map(len, block.samples.columns.values())) for block in blocks)
    cells = _CELL * sum(block.cells for block in blocks)
    told = _STATE * len(report.states) + _EVENT * len(report.events)
    return max(columns, cells) + told + _USAGE * (len(report.holders) + len(report.usage))


def _refuse_states(report: wire.Report) -> None:
    for block in _blocks(report.samples, "samples") + _blocks(report.partition_samples, "partition_samples"):
        for name in unknown([block.samples]):
            if name in BY_NAME:
                problem = f"{name} is sent as a state, not in every sample"
                raise Problem(422, problem, f"{block.field}.columns.{name}")
