"""What a push did, or would do, as text for people and as JSON for programs."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from gpufleet_dashboards.diff import difference
from gpufleet_dashboards.push import boards
from gpufleet_dashboards.push.apply import Outcome, Result, State
from gpufleet_dashboards.push.plan import Plan
from gpufleet_dashboards.push.step import Fate, Step
from gpufleet_dashboards.render import text_of

_WOULD = {Fate.CREATE: "would be created", Fate.UPDATE: "would be updated"}
_LOOK = "See what differs: gpufleet dashboards diff --url {url}. To replace what people changed: push --overwrite."
_UNTOLD = "whether it was written is not known: push again, which completes what is missing"


def lines(result: Result, url: str, version: str) -> Iterator[str]:
    """What was done, for people."""
    yield f"Grafana {version} at {url}"
    for each in result.outcomes:
        yield _line(each.step, each.state.value, _UNTOLD if each.state is State.UNKNOWN else "")
    if any(each.step.behind for each in result.outcomes):
        yield _LOOK.format(url=url)
    if result.error is None and not result.written:
        yield "Nothing to write."


def would(found: Plan, url: str) -> Iterator[str]:
    """What would be done, for people."""
    yield f"Grafana {found.version} at {url}; nothing was written"
    for step in found.steps:
        yield _line(step, _WOULD.get(step.fate, step.fate.value))


def _line(step: Step, state: str, more: str = "") -> str:
    why = "; ".join(part for part in (step.why, more) if part)
    return f"  {step.kind:<12} {step.title:<28} {state}" + (f" ({why})" if why else "")


def outcome_json(result: Result, url: str, version: str) -> dict[str, Any]:
    """What was done, for programs."""
    things = [_json(each.step, each.state.value) for each in result.outcomes]
    return _whole(url, version, things) | {"written": result.written, "error": _text(result)}


def would_json(found: Plan, url: str) -> dict[str, Any]:
    """What would be done, for programs."""
    things = [_json(step, step.fate.value) for step in found.steps]
    return _whole(url, found.version, things) | {"written": 0, "error": None, "dry_run": True}


def _whole(url: str, version: str, things: list[dict[str, Any]]) -> dict[str, Any]:
    return {"grafana": {"url": url, "version": version}, "things": things}


def _json(step: Step, state: str) -> dict[str, Any]:
    told = {"kind": step.kind, "uid": step.uid, "title": step.title, "state": state}
    return told | {"why": step.why or None, "behind": step.behind}


def _text(result: Result) -> str | None:
    return None if result.error is None else str(result.error)


def cut_short(outcomes: Sequence[Outcome]) -> str:
    """What was and what was not written, in one sentence, for where a push ended early."""
    by_state = {
        "written": [each for each in outcomes if each.state in {State.CREATED, State.UPDATED}],
        "not written": [each for each in outcomes if each.state is State.NOT_WRITTEN],
        "not known": [each for each in outcomes if each.state is State.UNKNOWN],
    }
    parts = [f"{state}: {_names(found)}" for state, found in by_state.items() if found]
    return f"{'; '.join(parts)}. A further push completes it"


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(f"{each.step.kind} {each.step.title}" for each in outcomes)


def differences(found: Plan) -> Iterator[str]:
    """Where Grafana is otherwise than this release: the lines of a unified diff, `-` as it is there, `+` ours."""
    for step in found.steps:
        # Of those that were pushed as they are, Grafana may write some things otherwise.
        if step.ours is None or step.fate is Fate.SAME:
            continue
        name = f"{step.kind} {step.title}"
        if step.kind == boards.KIND:
            yield from difference(name, step.there, step.ours)
        else:
            yield from difflib.unified_diff(
                _written(step.there), _written(step.ours), f"{name} there", f"{name} built", lineterm=""
            )


def _written(content: Any) -> list[str]:
    return [] if content is None else text_of(content).splitlines()
