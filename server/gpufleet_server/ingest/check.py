"""What must hold of a report beyond its shape, before anything of it is stored."""

from collections.abc import Iterator

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Cadence

from gpufleet_server.domain.clock import SECOND, measured_offset
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.columns import Block, check_stored

AHEAD = 5 * SECOND
OLDEST = 400 * 86_400 * SECOND
_LONGEST_MS = 3_600_000


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
    for field, at in _moments(report):
        if at > latest:
            raise _beyond(report, at, field)
        if at < latest - OLDEST:
            raise Problem(422, f"{at} µs is more than {_s(OLDEST)} before the report was made", field)


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
    """Problem where times don't rise (per GPU, over all blocks) or lie wrong, or a duration is not 1 ms to 1 h."""
    newest: dict[str, int] = {}
    for number, block in enumerate(blocks):
        field = f"samples[{number}]"
        _check_durations(block, field)
        _check_rising(block, max((newest.get(gpu, -1) for gpu in block.gpus), default=-1), field)
        first, last = int(block.times[0]), int(block.times[-1])
        if last > report.created.wall + AHEAD:
            raise _beyond(report, last, f"{field}.times[{len(block.times) - 1}]")
        if first < report.created.wall - OLDEST:
            raise Problem(422, f"{first} µs is more than {_s(OLDEST)} before the report was made", f"{field}.times[0]")
        newest |= dict.fromkeys(block.gpus, last)


def _check_durations(block: Block, field: str) -> None:
    wrong = (block.durations <= 0) | (block.durations > _LONGEST_MS)
    if wrong.any():
        position = int(wrong.argmax())
        problem = f"{block.durations[position]} ms is not between 1 ms and 1 h"
        raise Problem(422, problem, f"{field}.durations[{position}]")


def _check_rising(block: Block, before: int, field: str) -> None:
    # Comparing neighbours, not differences: those of wild int64 would wrap.
    rising = np.concatenate(([block.times[0] > before], block.times[1:] > block.times[:-1]))
    if not rising.all():
        position = int((~rising).argmax())
        problem = f"{block.times[position]} µs does not come after the sample before it"
        raise Problem(422, problem, f"{field}.times[{position}]")


def _moments(report: wire.Report) -> Iterator[tuple[str, int]]:
    yield from ((f"states[{number}].at", state.at) for number, state in enumerate(report.states))
    yield from ((f"events[{number}].at", event.at) for number, event in enumerate(report.events))


def _beyond(report: wire.Report, at: int, field: str) -> Problem:
    return Problem(422, f"{at} µs is {_s(at - report.created.wall)} after the report was made", field)


def _s(micros: int) -> str:
    return f"{micros // (86_400 * SECOND)} days" if micros > 2 * 86_400 * SECOND else f"{micros / SECOND:.1f} s"
