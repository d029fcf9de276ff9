"""A body becomes a report that may be stored."""

import dataclasses

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Cadence

from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest import check
from gpufleet_server.ingest.columns import Block, block
from gpufleet_server.ingest.request import understood


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A checked report. `measured` is the clock offset in µs, None where the request did not tell its clock."""

    report: wire.Report
    blocks: list[Block]
    measured: int | None
    hostname: str
    received_at: int
    size: int


def prepare(body: bytes, sent: wire.Clock | None, token_node: str | None, hostname: str, now: int) -> Prepared:
    """Decode and check a body. Problem says what is wrong with it; nothing of it may be stored then.

    `hostname` is what the node was enrolled as: it names a node whose roster has not come yet.
    """
    with understood():
        report = wire.decode(body)
    if report.node != token_node:
        raise Problem(403, f"this credential speaks for node {token_node}, not for {report.node}", "node")
    measured = check.measure(report.created, sent, now) if sent is not None else None
    if measured is not None:
        check.check_created(report.created, measured, now)
    check.check_times(report)
    check.check_states(report.states)
    blocks = _blocks(report)
    check.check_blocks(report, blocks)
    return Prepared(report, blocks, measured, hostname, now, len(body) + sum(each.size for each in blocks))


def _blocks(report: wire.Report) -> list[Block]:
    for number, samples in enumerate(report.samples):
        for name in samples.columns:
            metric = BY_NAME.get(name)
            if metric is not None and metric.cadence is not Cadence.EVERY_SAMPLE:
                problem = f"{name} is sent as a state, not in every sample"
                raise Problem(422, problem, f"samples[{number}].columns.{name}")
    return [block(samples, f"samples[{number}]") for number, samples in enumerate(report.samples)]
