"""What the stand-in holds, and what Grafana does with it."""

import copy
import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SECONDS = dict(_UNITS) | {"y": 31536000}


class ApiError(Exception):
    """An answer that is an error: its code and body."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.body = code, {"message": message, **more}


@dataclass
class Board:
    """A board: each version of it, and who saved it with which message."""

    id: int
    folder: str
    versions: list[Json]
    entries: list[Json]
    provisioned: str = ""

    @property
    def version(self) -> int:
        """The newest version's number."""
        return len(self.versions)

    @property
    def newest(self) -> Json:
        """As it is now."""
        return self.versions[-1]


@dataclass
class State:
    """All there is. `migrate`: whether boards come back written otherwise than they were sent."""

    folders: dict[str, Json] = field(default_factory=dict)
    datasources: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    boards: dict[str, Board] = field(default_factory=dict)
    rules: dict[str, Json] = field(default_factory=dict)
    intervals: dict[tuple[str, str], int] = field(default_factory=dict)
    migrate: bool = False
    writes: int = 0
    ids: int = 0

    def next_id(self) -> int:
        """A number that nothing has yet."""
        self.ids += 1
        return self.ids

    def now(self) -> str:
        """A time that goes on with each write."""
        return f"2026-11-22T10:{self.writes // 60:02}:{self.writes % 60:02}Z"

    def create_folder(self, body: Json) -> Json:
        """Folders have uids of their own, and titles that no other has beside it."""
        uid = body.get("uid") or f"folder{self.next_id()}"
        if uid in self.folders or any(each["title"] == body["title"] for each in self.folders.values()):
            raise ApiError(409, "a folder with the same name already exists in the current location")
        self.folders[uid] = {"id": self.next_id(), "uid": uid, "title": body["title"], "version": 1}
        self.writes += 1
        return self.folders[uid]

    def create_datasource(self, body: Json) -> Json:
        """A data source whose name and uid no other has."""
        uid = body.get("uid") or f"ds{self.next_id()}"
        if uid in self.datasources or any(each["name"] == body["name"] for each in self.datasources.values()):
            raise ApiError(409, "data source with the same name already exists")
        self.datasources[uid] = _datasource(body, {"id": self.next_id(), "uid": uid, "version": 1, "readOnly": False})
        self.secrets[uid] = dict(body.get("secureJsonData", {}))
        self.writes += 1
        return self.datasources[uid]

    def update_datasource(self, uid: str, body: Json) -> Json:
        """Of the version that is there; secrets that are not sent stay."""
        now = self.datasources[uid]
        if now["readOnly"]:
            raise ApiError(403, "Cannot update read-only data source")
        if body.get("version") and body["version"] != now["version"]:
            raise ApiError(409, "Datasource has already been updated by someone else. Please reload and try again")
        kept = {name: now[name] for name in ("id", "uid", "readOnly")}
        self.datasources[uid] = _datasource(body, {**kept, "version": now["version"] + 1})
        self.secrets[uid] |= body.get("secureJsonData", {})
        self.writes += 1
        return self.datasources[uid]

    def save_board(self, body: Json, who: str) -> Json:
        """A version more, unless it is not the newest one that was changed."""
        sent, folder = copy.deepcopy(body["dashboard"]), body.get("folderUid", "")
        if folder and folder not in self.folders:
            raise ApiError(400, "folder not found")
        uid = sent.get("uid") or f"board{self.next_id()}"
        board = self.boards.get(uid)
        if board is None:
            self._title_free(sent["title"], folder, body.get("overwrite", False))
            board = self.boards[uid] = Board(self.next_id(), folder, [], [])
        elif board.provisioned:
            raise ApiError(400, "Cannot save provisioned dashboard")
        elif sent.get("version", 0) != board.version and not body.get("overwrite", False):
            raise ApiError(412, "The dashboard has been changed by someone else", status="version-mismatch")
        board.folder = folder
        self.add_version(board, {**sent, "uid": uid}, who, body.get("message", ""))
        self.writes += 1
        return {"id": board.id, "uid": uid, "status": "success", "version": board.version, "slug": uid, "url": uid}

    def _title_free(self, title: str, folder: str, overwrite: bool) -> None:
        same = [board for board in self.boards.values() if board.folder == folder and board.newest["title"] == title]
        if same and not overwrite:
            raise ApiError(412, "A dashboard with the same name in the folder already exists", status="name-exists")

    def add_version(self, board: Board, content: Json, who: str, message: str) -> None:
        """Keep what a board now is."""
        board.versions.append({**content, "id": board.id, "version": board.version + 1})
        entry = {"version": board.version, "createdBy": who, "message": message, "created": self.now()}
        board.entries.insert(0, {"id": self.next_id(), "uid": content["uid"], **entry})

    def shown(self, board: Board) -> Json:
        """A board as it is given back; with `migrate`, as a Grafana that has moved on writes it."""
        found = copy.deepcopy(board.newest)
        if self.migrate:
            found |= {"schemaVersion": 99, "preload": False}
        return found

    def put_group(self, folder: str, group: str, body: Json, provenance: str) -> None:
        """Replace a group's rules; those that were elsewhere move."""
        if folder not in self.folders:
            raise ApiError(404, "folder does not exist")
        interval = body.get("interval", 60)
        if interval <= 0 or interval % 10:
            raise ApiError(400, f"rule evaluation interval ({interval} seconds) should be positive and divided by 10")
        fresh = {rule["uid"]: rule for rule in (self._rule(each, folder, group, provenance) for each in body["rules"])}
        there = {uid: rule for uid, rule in self.rules.items() if _place(rule) == (folder, group)}
        for uid, rule in (there | {uid: self.rules[uid] for uid in fresh if uid in self.rules}).items():
            if rule.get("provenance", "") == "file" and rule != fresh.get(uid):
                raise ApiError(403, f"cannot change provenance from 'file' to '{provenance}'")
        left = {uid: rule for uid, rule in self.rules.items() if uid not in there}
        _titles(folder, left | fresh)
        self.rules = left | fresh
        self.intervals[folder, group] = interval
        self.writes += 1

    def _rule(self, sent: Json, folder: str, group: str, provenance: str) -> Json:
        rule = copy.deepcopy(sent)
        refs = [each["refId"] for each in rule["data"]]
        if len(set(refs)) != len(refs) or rule["condition"] not in refs:
            raise ApiError(400, f"invalid alert rule: condition {rule['condition']} does not exist, or refIds repeat")
        for each in rule["data"]:
            each["model"] |= {"intervalMs": 1000, "maxDataPoints": 43200}
            each.setdefault("queryType", "")
        known = self.rules.get(rule.get("uid", ""), {})
        rule |= {"uid": rule.get("uid") or f"rule{self.next_id()}", "orgID": 1, "folderUID": folder}
        rule |= {"ruleGroup": group, "updated": self.now(), "id": known.get("id") or self.next_id()}
        rule |= {name: _length(rule.get(name, "0s")) for name in ("for", "keep_firing_for")}
        rule |= {"isPaused": rule.get("isPaused", False), "notification_settings": None, "record": None}
        rule.pop("provenance", None)
        return {**rule, "provenance": provenance} if provenance else rule

    def group(self, folder: str, group: str) -> Json | None:
        """A group and its rules."""
        found = [rule for rule in self.rules.values() if _place(rule) == (folder, group)]
        if not found:
            return None
        return {"title": group, "folderUid": folder, "interval": self.intervals[folder, group], "rules": found}


def _place(rule: Json) -> tuple[str, str]:
    return rule["folderUID"], rule["ruleGroup"]


def _titles(folder: str, rules: dict[str, Json]) -> None:
    titles = [rule["title"] for rule in rules.values() if rule["folderUID"] == folder]
    if len(set(titles)) != len(titles):
        raise ApiError(400, "invalid alert rule: a conflicting alert rule is found: rule title under the same folder")


def _datasource(body: Json, own: Json) -> Json:
    plain = {"url": "", "user": "", "database": "", "basicAuth": False, "basicAuthUser": ""}
    rest = {"withCredentials": False, "isDefault": False, "jsonData": {}, "orgId": 1, "typeLogoUrl": "logo.svg"}
    sent = {name: value for name, value in body.items() if name not in {"secureJsonData", "version"}}
    return copy.deepcopy({**plain, **rest, **sent, **own})


def _length(written: str) -> str:
    """As Grafana writes a length of time: the largest units first."""
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+)([smhdwy])", written))
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
