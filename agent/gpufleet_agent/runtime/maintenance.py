"""Lets go of the driver when somebody says so, and takes it up again: for driver updates, MIG changes, profilers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from gpufleet_agent.runtime.clock import monotonic, read_clock, wall
from gpufleet_agent.runtime.control import Answer, Ask, Caller, Control, Standing
from gpufleet_agent.runtime.pause import Pause, forget_pause, keep_pause, kept_pause
from gpufleet_agent.runtime.supervisor import Supervisor
from gpufleet_agent.wire import Event

_LOG = logging.getLogger("gpufleet_agent")
_OVER = "its time is over"


class Maintenance:
    """What is asked of the agent by `gpufleet-agent pause | resume | status`, and the pause that is in force."""

    def __init__(self, folder: Path, descriptor: int, supervisor: Supervisor, stand: Callable[[], Standing]) -> None:
        """`folder` is the state folder, `descriptor` the same opened; `stand` tells how the agent stands."""
        self._folder, self._supervisor, self._stand = folder, supervisor, stand
        self._events: list[Event] = []
        self._waiting: list[tuple[Caller, Ask]] = []
        self._note = ""
        # Whether it was told already that the driver is let go.
        self._told = False
        self.pause: Pause | None = None
        self._control: Control | None = None
        try:
            self._control = Control(descriptor)
        except OSError as error:
            _LOG.warning("%s: this agent cannot be paused: no socket can be made there: %s", folder, error.strerror)
        self._take_up()

    @property
    def readers(self) -> list[int]:
        """Descriptors to wait on until they can be read."""
        return self._control.readers if self._control is not None else []

    @property
    def due(self) -> float:
        """When `tend` is wanted at the latest (monotonic seconds)."""
        ends = monotonic() + self.pause.left if self.pause is not None else float("inf")
        return min(ends, self._control.due if self._control is not None else float("inf"))

    def tend(self) -> None:
        """Do what is asked now, and end a pause whose time is over."""
        for caller, ask in self._control.tend() if self._control is not None else ():
            self._note = ""
            if ask.command == "pause":
                self._begin(ask)
            elif ask.command == "resume":
                self._end("it was told to")
            self._waiting.append((caller, ask))
        if self.pause is not None and self.pause.left <= 0:
            self._end(_OVER)

    def take_events(self) -> list[Event]:
        """What happened since the call before."""
        if self.pause is not None and self._supervisor.has_let_go and not self._told:
            self._told = True
            until = {"until": self.pause.until} if self.pause.until is not None else {}
            self._tell("paused", self.pause.driver.detail, {"reason": self.pause.reason} | until)
        events, self._events = self._events, []
        return events

    def answer(self) -> None:
        """Answer those whose answer is known now. What happened has to be taken before: they may end the agent."""
        for waiting in list(self._waiting):
            answer = self._answer(waiting[1])
            if answer is not None and self._control is not None:
                self._waiting.remove(waiting)
                self._control.answer(waiting[0], answer)

    def close(self) -> None:
        """Nobody can ask any more."""
        if self._control is not None:
            for caller, _ in self._waiting:
                self._control.answer(caller, Answer(False, problem="the agent is ending"))
            self._control.close()
            self._control = None

    def _take_up(self) -> None:
        """Go on with a pause that an agent before this one was told."""
        self.pause = kept_pause(self._folder)
        if self.pause is None:
            return
        self._told = True
        if self.pause.left <= 0:
            self._end(_OVER)
        else:
            _LOG.warning("paused: the driver is left alone: %s", self.pause.driver.detail or "no reason was given")
            self._supervisor.pause(self.pause.driver)

    def _begin(self, ask: Ask) -> None:
        """Another pause on top of one changes why and for how long; it goes on since when it began."""
        now = read_clock()
        since = self.pause.since if self.pause is not None else now.wall
        self._told = self._told and self.pause is not None
        self.pause = Pause(since, now, ask.reason, ask.seconds)
        # First on disk: who is killed now is paused when it starts again.
        try:
            keep_pause(self._folder, self.pause)
        except OSError as error:
            self._note = f"it cannot be kept over a restart of the agent: {self._folder}: {error.strerror}"
            _LOG.warning("paused, but %s", self._note)
        self._supervisor.pause(self.pause.driver)

    def _end(self, why: str) -> None:
        try:
            forget_pause(self._folder)
        except OSError as error:
            self._note = f"after a restart the agent will be paused again: {self._folder}: {error.strerror}"
            _LOG.warning("resumed, but %s", self._note)
        if self.pause is None:
            return
        ended, self.pause = self.pause, None
        self._supervisor.resume()
        if self._told:
            seconds = max(0, wall() - ended.since) // 1_000_000
            reason = f" ({ended.reason})" if ended.reason else ""
            self._tell("resumed", f"{why}; paused for {seconds} s{reason}", {"reason": ended.reason})
        self._told = False

    def _tell(self, kind: str, message: str, detail: dict[str, str | int]) -> None:
        self._events.append(Event(at=wall(), kind=kind, message=message, detail={**detail}))

    def _answer(self, ask: Ask) -> Answer | None:
        """What to say; None while it is not known yet."""
        driver = self._supervisor.driver
        if ask.command == "status":
            return Answer(True, self._stand())
        if ask.command == "pause":
            return self._on_pause()
        if self.pause is not None:
            return Answer(False, self._stand(), "somebody else has paused it again")
        if driver is None or driver.state == "paused":
            return None
        problem = "" if driver.state == "ok" else f"the driver does not answer: {driver.state}: {driver.detail}"
        return Answer(not problem, self._stand(), problem, self._note)

    def _on_pause(self) -> Answer | None:
        if self.pause is None:
            return Answer(False, self._stand(), "somebody else has resumed it")
        if self._supervisor.has_let_go:
            return Answer(True, self._stand(), note=self._note)
        if not self._supervisor.is_stuck:
            return None
        reader = self._supervisor.reader
        who = f"process {reader}, which reads the driver," if reader else "a reader of an agent before this one"
        stuck = f"{who} hangs in the kernel and cannot be ended"
        still = "the driver is still held. It is let go when that call returns; until then `resume` takes this back"
        return Answer(False, self._stand(), f"{stuck}: {still}", self._note)
