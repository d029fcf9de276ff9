"""Silences and maintenance windows: which alerts nobody is told of, for how long, by whom and why."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from gpufleet_server.store.alerts import silences

Kind = Literal["silence", "maintenance"]


@dataclass(frozen=True, slots=True)
class Silence:
    """It holds from `starts_at` until before `ends_at`, µs. Every matcher has to match: label → value, `*` for any.

    Beside an alert's labels there are `alertname` (its rule), `severity` and `scope`.
    """

    silence_id: int
    kind: str
    matchers: Mapping[str, str]
    starts_at: int
    ends_at: int
    by: str
    why: str
    created_at: int
    ended_by: str | None = None

    @property
    def name(self) -> str:
        """Such as `silence 3`."""
        return f"{self.kind} {self.silence_id}"

    def state(self, now: int) -> Literal["coming", "active", "over"]:
        """How it stands at a time."""
        if now >= self.ends_at:
            return "over"
        return "coming" if now < self.starts_at else "active"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert of these labels is meant."""
        return all(_matches(wanted, labels.get(name, "")) for name, wanted in self.matchers.items())


def _matches(wanted: str, value: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def matched(active: Iterable[Silence], labels: Mapping[str, str]) -> Silence | None:
    """The first of them that means an alert of these labels."""
    return next((silence for silence in active if silence.matches(labels)), None)


def active(connection: Connection, now: int) -> list[Silence]:
    """Those that hold at `now`, in the order in which they were made."""
    holds = (silences.c.starts_at <= now, silences.c.ends_at > now)
    return [_silence(row) for row in connection.execute(select(silences).where(*holds).order_by(silences.c.silence_id))]


def listing(connection: Connection, now: int, *, over: bool = False) -> list[Silence]:
    """Those that hold or are to come, the newest first; with `over` all that ever were."""
    query = select(silences).order_by(silences.c.silence_id.desc())
    return [_silence(row) for row in connection.execute(query if over else query.where(silences.c.ends_at > now))]


def create(
    connection: Connection,
    kind: Kind,
    matchers: Mapping[str, str],
    starts_at: int,
    ends_at: int,
    *,
    by: str,
    why: str,
    now: int,
) -> Silence:
    """Make one. ValueError where it could match everything, or would never hold."""
    if not any(value.strip("*") for value in matchers.values()):
        raise ValueError("a silence of everything would hide the next outage: name a label and what it has to be")
    if ends_at <= max(starts_at, now):
        raise ValueError("it would be over before it holds")
    row = {
        "kind": kind, "matchers": dict(matchers), "starts_at": starts_at, "ends_at": ends_at,
        "by": by, "why": why, "created_at": now,
    }  # fmt: skip
    made = connection.execute(insert(silences).values(row).returning(silences.c.silence_id)).scalar_one()
    return Silence(made, kind, matchers, starts_at, ends_at, by, why, now)


def end(connection: Connection, silence_id: int, now: int, by: str) -> bool:
    """End one before its time; False where there is none of this number that is not over."""
    mine = (silences.c.silence_id == silence_id, silences.c.ends_at > now)
    return connection.execute(update(silences).where(*mine).values(ends_at=now, ended_by=by)).rowcount == 1


def _silence(row: Any) -> Silence:
    return Silence(**row._mapping)
