"""`gpufleet-agent pause | resume | status`: what the running agent is told, and how it stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from gpufleet_agent.cli.holders import files_of, holders
from gpufleet_agent.cli.readable import iso, size
from gpufleet_agent.runtime.clock import wall
from gpufleet_agent.runtime.control import Answer, Ask, NoAgent, Standing, ask

_EXIT_PROBLEM, _EXIT_ABSENT = 1, 3
_MOST_HOLDERS = 8


def control(folder: Path, asked: Ask, seconds: float, as_json: bool) -> int:
    """Ask the agent of a state folder and print what it says. 0 done, 1 not, 3 resumed and there is no driver."""
    try:
        answer = ask(folder, asked, seconds)
    except NoAgent as error:
        answer = Answer(False, problem=str(error))
    except TimeoutError:
        answer = Answer(False, problem=_late(asked.command, seconds))
    if asked.command == "pause" and answer.done and answer.standing is not None:
        answer = _looked_at(answer, answer.standing)
    _print(asked.command, answer, as_json)
    if answer.done:
        return 0
    driver = answer.standing.driver if answer.standing else None
    is_absent = asked.command == "resume" and driver is not None and driver.state == "absent"
    return _EXIT_ABSENT if is_absent else _EXIT_PROBLEM


def _late(command: Literal["pause", "resume", "status"], seconds: float) -> str:
    what = {
        "pause": "it was told to let go of the driver and has not said that it did",
        "resume": "it was told to read the driver again, which has not answered so far",
        "status": "it does not answer",
    }
    return f"the agent: {what[command]}, after {seconds:g} s (--timeout)"


def _looked_at(answer: Answer, standing: Standing) -> Answer:
    """The answer, after a look at what the agent's own processes have open."""
    held = [path for pid in (standing.pid, standing.reader) if pid for path in files_of(pid)]
    if held:
        problem = f"the agent (process {standing.pid}) says so, but has {', '.join(sorted(set(held)))} open"
        return Answer(False, standing, problem, answer.note)
    return answer


def _print(command: str, answer: Answer, as_json: bool) -> None:
    standing = answer.standing
    if as_json:
        shown = {"done": answer.done, "problem": answer.problem or None, "note": answer.note or None}
        sys.stdout.write(json.dumps(shown | _as_json(standing), indent=2, ensure_ascii=False) + "\n")
        return
    if answer.note:
        print(f"gpufleet-agent: {answer.note}", file=sys.stderr)
    if answer.problem:
        print(f"gpufleet-agent: {answer.problem}", file=sys.stderr)
    elif standing is not None:
        print(*_told(command, standing), sep="\n")


def _told(command: str, standing: Standing) -> Iterator[str]:
    if command == "resume":
        yield "the driver is read again"
    elif command == "pause":
        detail = standing.driver.detail if standing.driver else ""
        until = "" if standing.pause and standing.pause.seconds else "until `gpufleet-agent resume`"
        yield f"the driver is let go: {', '.join(filter(None, (detail, until)))}"
        others = holders()
        if others:
            names = [f"{name} ({pid})" for pid, name in others[:_MOST_HOLDERS]]
            more = f" and {len(others) - _MOST_HOLDERS} more" if len(others) > _MOST_HOLDERS else ""
            yield f"others have it open: {', '.join(names)}{more}"
    else:
        yield from _lines(standing)


def _lines(standing: Standing) -> Iterator[str]:
    driver, backlog = standing.driver, standing.backlog
    yield f"agent     {standing.version}, process {standing.pid}, node {standing.node}"
    if driver is None:
        yield "driver    is being opened"
    else:
        detail = f": {driver.detail}" if driver.detail else ""
        yield f"driver    {driver.state} since {iso(driver.since)}{detail}"
    if standing.pause is not None and (driver is None or driver.state != "paused"):
        yield "          is to be let go, and is still held"
    yield f"sample    {_age(standing.sampled_at)}"
    if standing.server is None:
        yield "server    none is set"
        return
    yield f"server    {standing.server}, {standing.trouble or 'reachable'}"
    yield f"backlog   {backlog.reports} reports, {size(backlog.bytes)}; {backlog.dropped} dropped"


def _age(at: int | None) -> str:
    return "none yet" if at is None else f"{max(0, wall() - at) / 1e6:.0f} s ago ({iso(at)})"


def _as_json(standing: Standing | None) -> dict[str, Any]:
    """Times as elsewhere in what this program prints, ISO 8601 in UTC."""
    if standing is None:
        return {}
    shown: dict[str, Any] = msgspec.to_builtins(standing)
    for place, name in ((shown, "sampled_at"), (shown["driver"], "since")):
        if place is not None and place[name] is not None:
            place[name] = iso(place[name])
    if standing.pause is not None:
        until = standing.pause.until
        shown["pause"] = {
            "since": iso(standing.pause.since),
            "until": None if until is None else iso(until),
            "reason": standing.pause.reason,
        }
    return {"agent": shown}
