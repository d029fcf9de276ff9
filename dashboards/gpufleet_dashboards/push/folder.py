"""The folder that boards and rules lie in: found by uid or title, else made."""

import re
from dataclasses import dataclass
from functools import partial

from gpufleet_dashboards.push.grafana import Grafana, Json
from gpufleet_dashboards.push.rights import Need
from gpufleet_dashboards.push.step import Fate, Step

_CREATE = Need(("folders:create",))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of Grafana's. `made`: whether it is there already."""

    uid: str
    title: str
    made: bool

    @property
    def scope(self) -> str:
        """As permissions name it."""
        return f"folders:uid:{self.uid}"


def find(grafana: Grafana, name: str) -> tuple[Folder, Step]:
    """The folder of a name, and the step that makes it where there is none."""
    uid = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "gpufleet"
    there = grafana.folder(name)
    named = [] if there else [each for each in grafana.folders() if each["title"] == name]
    if len(named) > 1:
        uids = ", ".join(sorted(each["uid"] for each in named))
        why = f"several folders are called {name}: give --folder one of their uids, {uids}"
        return Folder(uid, name, True), Step(kind="folder", uid=uid, title=name, fate=Fate.BLOCKED, why=why)
    # One of that uid and another title is ours, renamed by somebody.
    there = there or (named[0] if named else grafana.folder(uid))
    folder = _folder(there) if there else Folder(uid, name, False)
    return folder, _step(grafana, name, folder)


def _folder(there: Json) -> Folder:
    return Folder(there["uid"], there["title"], True)


def _step(grafana: Grafana, name: str, folder: Folder) -> Step:
    return Step(
        kind="folder",
        uid=folder.uid,
        title=folder.title,
        fate=Fate.SAME if folder.made else Fate.CREATE,
        needs=() if folder.made else (_CREATE,),
        write=partial(grafana.create_folder, folder.title, folder.uid),
        again=lambda: find(grafana, name)[1],
    )
