"""Reports on disk until the server has committed them: bounded, oldest out first, in memory where the disk refuses."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gpufleet_agent.runtime.clock import boot_id, uptime, wall
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.files import make_folder, remove, write_whole
from gpufleet_agent.runtime.frames import Begun, Record
from gpufleet_agent.runtime.journal import Journal, read_records
from gpufleet_agent.runtime.sequence import Sequence
from gpufleet_agent.wire import Backlog, Event, WireError, decode, encode, unpack

MEMORY_BYTES = 8 << 20
REJECTED_KEPT = 100
# Once there is room again: so many reports go from memory to disk with each that is closed; each is synced.
_MOVED_AT_ONCE = 16
_JOURNAL_TROUBLE = "the open report is kept in memory only"
_REPORT_TROUBLE = "reports are kept in memory only"


@dataclass(slots=True, eq=False)
class Entry:
    """A closed report that waits, since `since` (seconds of uptime). `body` is there where no disk took it.

    There may be tens of thousands: each holds only what cannot be told from its number and the folder.
    """

    seq: int
    size: int
    since: float
    folder: Path
    body: bytes | None = None

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / _name(self.seq, "report")

    def read(self) -> bytes:
        """The body of the request. OSError where the file has gone."""
        return self.path.read_bytes() if self.body is None else self.body


@dataclass(slots=True)
class Dropped:
    """Reports that were given up, and the times they covered (µs since the epoch)."""

    reports: int = 0
    first: int = 0
    last: int = 0

    def event(self) -> Event:
        """The gap as an event."""
        return Event(
            at=wall(),
            kind="spool_dropped",
            message=f"{self.reports} reports were dropped: the spool was full or they were too old",
            detail={"reports": self.reports, "from": self.first, "to": self.last},
        )


class Spool:
    """The folder `spool/` of the state folder, and `rejected/` beside it."""

    def __init__(self, state: Path, node: str, max_bytes: int, max_age: float) -> None:
        """Take over what an earlier run left. `max_age` in seconds."""
        self._folder, self._rejected = state / "spool", state / "rejected"
        self._node, self._max_bytes, self._max_age = node, max_bytes, max_age
        self._entries: deque[Entry] = deque()
        self._disk = self._memory = 0
        self._journal: Journal | None = None
        # What was told of the disk and is not over.
        self._troubles: set[str] = set()
        self._torn = False
        self._notices: list[Event] = []
        self._dropped = Dropped()
        self._dropped_ever = 0
        try:
            make_folder(self._folder)
            found = sorted(path.name for path in self._folder.iterdir())
            floor = max(map(_seq, found), default=0)
        except OSError as error:
            # Beyond any number that a file may have which cannot be seen now.
            found, floor = [], wall()
            self._note_trouble(_REPORT_TROUBLE, error)
        self._sequence = Sequence(state / "stream.json", floor)
        if self._sequence.is_new_boot:
            booted = wall() - round(uptime() * 1e6)
            self._notices.append(Event(at=booted, kind="node_booted", message="the machine was booted"))
        self._take_over(found)

    @property
    def backlog(self) -> Backlog:
        """What waits now, and how many reports this run has dropped."""
        return Backlog(reports=len(self._entries), bytes=self._disk + self._memory, dropped=self._dropped_ever)

    def take_number(self) -> tuple[str, int]:
        """Stream and number for the next report."""
        return self._sequence.take()

    def begin(self, begun: Begun) -> None:
        """Open the journal of a report."""
        self._torn = False
        try:
            if self._troubles:
                make_folder(self._folder)  # which the disk may have refused
            self._journal = Journal(self._path(begun.seq, "journal"), begun)
        except OSError as error:
            self._note_torn(error)

    def append(self, record: Record) -> None:
        """Add to the open journal."""
        if self._journal is None:
            return
        try:
            self._journal.append(record)
        except OSError as error:
            # What is there stays for a restart, which then has at least that much.
            self._journal.close()
            self._journal = None
            self._note_torn(error)

    def close(self, seq: int, body: bytes) -> None:
        """Keep a finished report, then give up its journal. Unless the disk refuses it is on it for good on return."""
        entry = Entry(seq, len(body), uptime(), self._folder, body)
        self._entries.append(entry)
        self._add(entry)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._move_to_disk(entry):
            self._note_recovery()
            self._move_more()
        self.trim()

    def head(self) -> Entry | None:
        """The oldest report that waits: they go in order."""
        return self._entries[0] if self._entries else None

    def heads(self, most: int) -> list[Entry]:
        """The oldest reports that wait, so many at most."""
        return list(islice(self._entries, most))

    def remove(self, entry: Entry) -> None:
        """Forget a report: the server has it, or it is gone. Nothing is done where it was dropped meanwhile."""
        if entry not in self._entries:
            return
        self._entries.remove(entry)
        self._add(entry, -1)
        remove(entry.path)
        if entry.body is not None:
            remove(self._path(entry.seq, "journal"))

    def reject(self, entry: Entry) -> None:
        """Put aside a report that the server will never take; the newest are kept for a look."""
        try:
            body = entry.read()
            make_folder(self._rejected)
            write_whole(self._rejected / entry.path.name, body)
            for old in sorted(self._rejected.iterdir())[:-REJECTED_KEPT]:
                remove(old)
        except OSError as error:
            self._tell_degraded(f"the refused report {entry.seq} cannot be kept: {error}")
        self.remove(entry)

    def newest_events(self) -> list[Event]:
        """The events of the report that was closed last, if it is of this boot."""
        try:
            report = decode(self._entries[-1].read())
        except (IndexError, OSError, WireError):
            return []
        return report.events if report.created.boot == boot_id() else []

    def trim(self) -> None:
        """Drop the oldest reports beyond the bounds; the newest always stays."""
        while len(self._entries) > 1:
            victim = self._victim()
            if victim is None:
                break
            self._drop(victim)

    def take_dropped(self) -> Event | None:
        """The gap since the call before, if there is one."""
        dropped, self._dropped = self._dropped, Dropped()
        return dropped.event() if dropped.reports else None

    def take_notices(self) -> list[Event]:
        """What happened to the disk since the call before."""
        notices, self._notices = self._notices, []
        return notices

    def _take_over(self, found: list[str]) -> None:
        journals = []
        for name in found:
            seq = _seq(name)
            try:
                if name == _name(seq, "report"):
                    status = (self._folder / name).stat()
                    since = uptime() - max(0.0, time.time() - status.st_mtime)
                    self._entries.append(Entry(seq, status.st_size, since, self._folder))
                    self._add(self._entries[-1])
                elif name == _name(seq, "journal"):
                    journals.append(seq)
                elif name.endswith(".tmp"):
                    remove(self._folder / name)
            except OSError as error:
                self._note_unreadable(error)
        closed = {entry.seq for entry in self._entries} if journals else set()
        for seq in journals:
            self._replay(seq, closed)
        self._entries = deque(sorted(self._entries, key=lambda entry: entry.seq))
        self.trim()

    def _replay(self, seq: int, closed: set[int]) -> None:
        """Make a report of a journal that was left over, unless that had been done."""
        path = self._path(seq, "journal")
        if seq in closed:
            remove(path)
            return
        try:
            records = read_records(path.read_bytes())
        except OSError as error:
            self._note_unreadable(error)
            return
        if not records or not isinstance(records[0], Begun):
            remove(path)
            return
        draft = Draft(records[0])
        for record in records[1:]:
            draft.add(record)
        if draft.empty:
            remove(path)
        else:
            self.close(draft.seq, encode(draft.report(self._node, self.backlog)))

    def _move_to_disk(self, entry: Entry) -> bool:
        """Write down a report that is in memory; whether that could be done."""
        if entry.body is None:
            return True
        try:
            write_whole(entry.path, entry.body)
        except OSError as error:
            self._note_trouble(_REPORT_TROUBLE, error)
            return False
        self._add(entry, -1)
        entry.body = None
        self._add(entry)
        remove(self._path(entry.seq, "journal"))
        return True

    def _move_more(self) -> None:
        """There is room: what had to stay in memory goes to disk too, a little at a time."""
        if self._memory:
            in_memory = [entry for entry in self._entries if entry.body is not None]
            all(self._move_to_disk(entry) for entry in in_memory[:_MOVED_AT_ONCE])

    def _victim(self) -> Entry | None:
        head = self._entries[0]
        if self._is_old(head):
            return head
        if self._disk > self._max_bytes:
            return next(entry for entry in self._entries if entry.body is None)
        if self._memory > MEMORY_BYTES:
            return next(entry for entry in self._entries if entry.body is not None)
        return None

    def _is_old(self, entry: Entry) -> bool:
        # By uptime, which nobody sets: a clock that jumps forward must not make old what has just been read.
        oldest = uptime() - self._max_age
        if entry.since < oldest:
            # Of a file that was found only the wall clock's word was looked at, which may have been wrong then or now.
            entry.since = _made(entry) or entry.since
        return entry.since < oldest

    def _add(self, entry: Entry, sign: int = 1) -> None:
        if entry.body is None:
            self._disk += sign * entry.size
        else:
            self._memory += sign * entry.size

    def _drop(self, entry: Entry) -> None:
        first, last = _times(entry)
        known = self._dropped.reports
        self._dropped = Dropped(
            known + 1,
            min(self._dropped.first, first) if known else first,
            max(self._dropped.last, last),
        )
        self._dropped_ever += 1
        self.remove(entry)

    def _path(self, seq: int, kind: str) -> Path:
        return self._folder / _name(seq, kind)

    def _note_trouble(self, trouble: str, error: OSError) -> None:
        if trouble not in self._troubles:
            self._tell_degraded(f"{trouble}: {error}")
        self._troubles.add(trouble)

    def _note_torn(self, error: OSError) -> None:
        self._torn = True
        self._note_trouble(_JOURNAL_TROUBLE, error)

    def _note_unreadable(self, error: OSError) -> None:
        self._tell_degraded(f"a report of an earlier run cannot be read: {error}")

    def _tell_degraded(self, text: str) -> None:
        self._notices.append(Event(at=wall(), kind="spool_degraded", message=text[:2048]))

    def _note_recovery(self) -> None:
        """A report went to disk; if its journal did too, the trouble is over."""
        if self._troubles and not self._torn:
            self._notices.append(Event(at=wall(), kind="spool_recovered", message="reports are kept on disk again"))
            self._troubles.clear()


def _name(seq: int, kind: str) -> str:
    return f"{seq:020}.{kind}"


def _seq(name: str) -> int:
    """The number in a file's name; 0 where it is none of ours."""
    number = name.split(".", 1)[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) == 20 else 0


def _made(entry: Entry) -> float | None:
    """The uptime (s) at which a report was made, where it is of this boot and can be read."""
    try:
        created = decode(entry.read()).created
    except (OSError, WireError):
        return None
    return created.uptime / 1e6 if created.boot == boot_id() else None


def _times(entry: Entry) -> tuple[int, int]:
    """The first and last moment a report tells of; its own age where it cannot be read."""
    try:
        report = decode(entry.read())
    except (OSError, WireError):
        at = wall() - int((uptime() - entry.since) * 1e6)
        return at, at
    times = [time for samples in report.samples for time in unpack(samples.times, 8)]
    times += [event.at for event in report.events]
    times = times or [report.created.wall]
    return min(times), max(times)
