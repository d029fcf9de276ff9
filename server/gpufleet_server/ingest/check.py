"""What must hold of a report beyond its shape, before anything of it is stored."""

from collections.abc import Sequence

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Cadence

from gpufleet_server.domain.clock import SECOND, measured_offset
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.columns import Block, check_stored

AHEAD = 5 * SECOND
OLDEST = 400 * 86_400 * SECOND
_LONGEST_MS = 3_600_000
# Times × GPUs of a report. What is not sent of them is small in a body, but not in memory.
MOST_CELLS = 1 << 18


def measure(created: wire.Clock, sent: wire.Clock, now: int) -> int:
    """The measured clock offset, µs. Problem where the two clocks can't belong to one agent."""
    if sent.boot == created.boot and sent.uptime < created.uptime:
        problem = f"sent at uptime {sent.uptime} µs, before the report was made ({created.uptime} µs)"
        raise Problem(422, problem, wire.CLOCK_HEADER)
    return measured_offset(created, sent, now)


def check_created(created: wire.Clock, offset: int, now: int) -> None:
    """Problem where a report was made in the future or long ago, its clock corrected by `offset` µs."""
    at = created.wall + offset
    if at > now + AHEAD:
        raise Problem(422, f"made {_s(at - now)} in the future by the server's clock", "created.wall")
    if at < now - OLDEST:
        raise Problem(422, f"made {_s(now - at)} ago; nothing older than {_s(OLDEST)} is taken", "created.wall")


def check_times(report: wire.Report) -> None:
    """Problem where a state, an event or the driver's state has a time that can't be."""
    latest = report.created.wall + AHEAD
    if report.driver.since > latest:
        raise _beyond(report, report.driver.since, "driver.since")
    both: tuple[tuple[str, Sequence[wire.State | wire.Event]], ...] = (
        ("states", report.states),
        ("events", report.events),
    )
    for name, told in both:
        for number, each in enumerate(told):
            if each.at > latest:
                raise _beyond(report, each.at, f"{name}[{number}].at")
            if each.at < latest - OLDEST:
                raise _before(each.at, f"{name}[{number}].at")


def check_states(states: list[wire.State]) -> None:
    """Problem where a state's integer means nothing, or its metric is sent in every sample."""
    for number, state in enumerate(states):
        metric = BY_NAME.get(state.metric)
        if metric is None:
            continue
        if metric.cadence is not Cadence.ON_CHANGE:
            raise Problem(422, f"{metric.name} is sent in every sample, not as a state", f"states[{number}].metric")
        check_stored(metric, state.stored, f"states[{number}].stored")


def check_blocks(report: wire.Report, blocks: list[Block]) -> None:
    """Problem where times don't rise (per GPU, over all blocks) or lie wrong, or a duration is not 1 ms to 1 h.

    Or where there are more samples than a server can be asked to hold at once.
    """
    if (cells := sum(block.cells for block in blocks)) > MOST_CELLS:
        raise Problem(422, f"{cells} samples (times × GPUs); a report holds {MOST_CELLS} at most", "samples")
    newest: dict[str, int] = {}
    for block in blocks:
        for position, duration in enumerate(block.durations):
            if not 0 < duration <= _LONGEST_MS:
                problem = f"{duration} ms is not between 1 ms and 1 h"
                raise Problem(422, problem, f"{block.field}.durations[{position}]")
        before = max((newest.get(gpu, -1) for gpu in block.samples.gpus), default=-1) if newest else -1
        _check_rising(block, before)
        first, last = block.times[0], block.times[-1]
        if last > report.created.wall + AHEAD:
            raise _beyond(report, last, f"{block.field}.times[{len(block.times) - 1}]")
        if first < report.created.wall - OLDEST:
            raise _before(first, f"{block.field}.times[0]")
        if len(blocks) > 1:
            newest |= dict.fromkeys(block.samples.gpus, last)


def check_usage(report: wire.Report) -> None:
    """Problem where a piece of usage has a time that can't be, or more time of the GPU than there was."""
    latest = report.created.wall + AHEAD
    # An agent rounds each sample to ms, and the first may have begun before its holder did.
    spare = report.interval + 1000
    for number, piece in enumerate(report.usage):
        if piece.end > latest:
            raise _beyond(report, piece.end, f"usage[{number}].end")
        if piece.begin < latest - OLDEST:
            raise _before(piece.begin, f"usage[{number}].begin")
        most = (piece.end - piece.begin) // 1000 + spare
        if piece.observed > most or piece.active + piece.held > most:
            spent = max(piece.observed, piece.active + piece.held)
            problem = f"{spent} ms are more than there are from {piece.begin} to {piece.end} µs"
            raise Problem(422, problem, f"usage[{number}]")


def _check_rising(block: Block, before: int) -> None:
    for position, time in enumerate(block.times):
        if time <= before:
            problem = f"{time} µs does not come after the sample before it"
            raise Problem(422, problem, f"{block.field}.times[{position}]")
        before = time


def _before(at: int, field: str) -> Problem:
    return Problem(422, f"{at} µs is more than {_s(OLDEST)} before the report was made", field)


def _beyond(report: wire.Report, at: int, field: str) -> Problem:
    return Problem(422, f"{at} µs is {_s(at - report.created.wall)} after the report was made", field)


def _s(micros: int) -> str:
    return f"{micros // (86_400 * SECOND)} days" if micros > 2 * 86_400 * SECOND else f"{micros / SECOND:.1f} s"
