"""Boards: made, brought up to date, or left as somebody changed them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpufleet_dashboards.diff import plain
from gpufleet_dashboards.push.folder import Folder
from gpufleet_dashboards.push.grafana import Grafana, Json
from gpufleet_dashboards.push.mark import digest, message, pushed
from gpufleet_dashboards.push.rights import Need
from gpufleet_dashboards.push.step import Fate, Step

KIND = "board"
# What Grafana counts and numbers by itself.
_ITS_OWN = ("id", "version")
_PROVISIONED = "Grafana read it from a file ({file}) and takes no changes: push or provision, not both"
_TITLE_TAKEN = "another board of this title, {uid}, is in the folder: rename that one, or push into another --folder"


def content(board: Mapping[str, Any]) -> Json:
    """A board without what Grafana counts and numbers by itself."""
    return {name: value for name, value in board.items() if name not in _ITS_OWN}


def steps(grafana: Grafana, folder: Folder, boards: Iterable[Mapping[str, Any]], overwrite: bool) -> list[Step]:
    """What becomes of each board."""
    others = {each["title"]: each["uid"] for each in grafana.boards_in(folder.uid)} if folder.made else {}
    return [step(grafana, folder, board, others, overwrite) for board in boards]


def step(
    grafana: Grafana, folder: Folder, board: Mapping[str, Any], others: Mapping[str, str], overwrite: bool
) -> Step:
    """What becomes of one. `others`: uid of each board in the folder, by title."""
    there = grafana.board(board["uid"])
    again = partial(step, grafana, folder, board, others, overwrite)
    if there is not None:
        return _existing(grafana, folder, board, there, overwrite, again)
    taken = others.get(board["title"])
    return Step(
        kind=KIND,
        uid=board["uid"],
        title=board["title"],
        fate=Fate.BLOCKED if taken else Fate.CREATE,
        why=_TITLE_TAKEN.format(uid=taken) if taken else "",
        ours=content(board),
        # Of a folder that is still to be made nobody has rights yet.
        needs=(Need(("dashboards:create",), (folder.scope,)),) if folder.made else (),
        write=partial(grafana.save_board, _body(board, folder.uid, 0)),
        again=again,
    )


def _existing(
    grafana: Grafana, folder: Folder, board: Mapping[str, Any], there: Json, overwrite: bool, again: Any
) -> Step:
    meta, now = there.get("meta", {}), content(there["dashboard"])
    place = str(meta.get("folderUid") or folder.uid)
    verdict = _verdict(grafana, board, now, place != folder.uid, overwrite)
    if verdict.fate is Fate.UPDATE and meta.get("provisioned"):
        verdict = _Verdict(Fate.BLOCKED, _PROVISIONED.format(file=meta.get("provisionedExternalId", "")))
    scopes = (f"dashboards:uid:{board['uid']}", f"folders:uid:{place}")
    version = int(there["dashboard"].get("version", meta.get("version", 0)))
    return Step(
        kind=KIND,
        uid=board["uid"],
        title=board["title"],
        fate=verdict.fate,
        why=verdict.why,
        behind=verdict.behind,
        there=now,
        ours=content(board),
        needs=(Need(("dashboards:write",), scopes),) if verdict.fate is Fate.UPDATE else (),
        # Where somebody moved it, it stays.
        write=partial(grafana.save_board, _body(board, folder.uid if overwrite else place, version)),
        again=again,
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    fate: Fate
    why: str = ""
    behind: bool = False


def _verdict(grafana: Grafana, board: Mapping[str, Any], now: Json, moved: bool, overwrite: bool) -> _Verdict:
    wanted = digest(content(board))
    if overwrite and moved:
        return _Verdict(Fate.UPDATE, "back into its folder")
    if plain(now) == plain(board):
        return _Verdict(Fate.SAME)
    history = grafana.versions(board["uid"])
    last = pushed(history[0].get("message", "")) if history else None
    # What Grafana gives back may be written otherwise than it was sent: its history tells that it is the same.
    if last == wanted:
        return _Verdict(Fate.SAME)
    if last is not None:
        return _Verdict(Fate.UPDATE)
    if overwrite:
        return _Verdict(Fate.UPDATE, f"replaces what was {_who(history)}")
    return _Verdict(Fate.KEEP, _who(history), behind=_last_pushed(history) != wanted)


def _who(history: list[Json]) -> str:
    if not history:
        return "changed in Grafana"
    newest = history[0]
    when = str(newest.get("created", ""))[:16].replace("T", " ")
    return f"changed in Grafana by {newest.get('createdBy', '?')}, {when}, version {newest.get('version', '?')}"


def _last_pushed(history: list[Json]) -> str | None:
    return next((mark for each in history if (mark := pushed(each.get("message", ""))) is not None), None)


def _body(board: Mapping[str, Any], folder: str, version: int) -> Json:
    """What is sent. Never `overwrite`: with it Grafana takes no notice of versions, and some of titles."""
    return {
        "dashboard": {**content(board), "id": None, "version": version},
        "folderUid": folder,
        "message": message(content(board)),
        "overwrite": False,
    }
