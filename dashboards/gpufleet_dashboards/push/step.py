"""What a push does to one thing in Grafana, found out before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gpufleet_dashboards.push.rights import Need


class Fate(StrEnum):
    """What is to become of it."""

    CREATE = "create"
    UPDATE = "update"
    SAME = "unchanged"
    KEEP = "kept"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing: `kind` and `title` as they are told, and its `uid` in Grafana.

    `why`: of what is kept, updated or blocked. `behind`: what is kept is not what this release has.
    `there` and `ours`: what is in Grafana and what is wanted, to be shown side by side.
    `again` finds out anew, which after a cut tells whether it was written.
    """

    kind: str
    uid: str
    title: str
    fate: Fate
    why: str = ""
    behind: bool = False
    there: Any = None
    ours: Any = None
    needs: tuple[Need, ...] = ()
    write: Callable[[], None] | None = None
    again: "Callable[[], Step] | None" = None

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return self.fate in {Fate.CREATE, Fate.UPDATE}
