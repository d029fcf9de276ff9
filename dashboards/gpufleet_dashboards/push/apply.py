"""Writes what a plan says, and tells of each thing what became of it, also where the network is cut in between."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gpufleet_dashboards.push.failure import NoAnswer, PushError
from gpufleet_dashboards.push.step import Fate, Step


class State(StrEnum):
    """What became of a thing."""

    CREATED = "created"
    UPDATED = "updated"
    SAME = "unchanged"
    KEPT = "kept"
    NOT_WRITTEN = "not written"
    UNKNOWN = "unknown"


_WRITTEN = {Fate.CREATE: State.CREATED, Fate.UPDATE: State.UPDATED}
_LEFT = {Fate.SAME: State.SAME, Fate.KEEP: State.KEPT}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step and what became of it."""

    step: Step
    state: State


@dataclass(frozen=True, slots=True)
class Result:
    """All outcomes, and what stopped it."""

    outcomes: tuple[Outcome, ...]
    error: PushError | None = None

    @property
    def written(self) -> int:
        """How many were written."""
        return sum(each.state in _WRITTEN.values() for each in self.outcomes)


def apply(steps: Iterable[Step]) -> Result:
    """Write one after the other; after the first failure nothing more."""
    outcomes: list[Outcome] = []
    error: PushError | None = None
    for step in steps:
        if not step.writes:
            state = _LEFT[step.fate]
        elif error is not None:
            state = State.NOT_WRITTEN
        else:
            state, error = _write(step)
        outcomes.append(Outcome(step, state))
    return Result(tuple(outcomes), error)


def _write(step: Step) -> tuple[State, PushError | None]:
    if step.write is None:
        raise ValueError(f"{step.kind} {step.title} has nothing to write")
    try:
        step.write()
    except NoAnswer as error:
        return _look(step, error), error
    except PushError as error:
        return State.NOT_WRITTEN, error
    return _WRITTEN[step.fate], None


def _look(step: Step, error: NoAnswer) -> State:
    """After no answer: whether it was written all the same."""
    if step.again is None:
        return State.UNKNOWN
    try:
        written = not step.again().writes
    except PushError:
        return State.UNKNOWN
    if written:
        return _WRITTEN[step.fate]
    return State.UNKNOWN if error.late else State.NOT_WRITTEN
