"""Alert rules, group by group: ours are made or brought up to date, what people changed or added stays."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpufleet_dashboards.push.folder import Folder
from gpufleet_dashboards.push.grafana import Grafana, Json
from gpufleet_dashboards.push.mark import digest
from gpufleet_dashboards.push.rights import Need
from gpufleet_dashboards.push.step import Fate, Step

_KIND = "alert rules"
# In the model of a rule's first query, of which Grafana keeps what it does not know.
_MARK = "gpufleetPushed"
# What Grafana fills in.
_FILLED = ("intervalMs", "maxDataPoints", "hide", "queryType", _MARK)
_READ = Need(("alert.provisioning:read", "alert.rules.provisioning:read", "alert.rules:read"))
_WRITE = Need(("alert.provisioning:write", "alert.rules.provisioning:write", "alert.provisioning.provenance:write"))
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_FILE = "Grafana read {names} from a file and takes no changes: push or provision, not both"


def steps(grafana: Grafana, folder: Folder, groups: Iterable[Mapping[str, Any]], overwrite: bool) -> list[Step]:
    """What becomes of each group, as the file for provisioning has it."""
    return [step(grafana, folder, group, overwrite) for group in groups]


def step(grafana: Grafana, folder: Folder, group: Mapping[str, Any], overwrite: bool) -> Step:
    """What becomes of one group."""
    name = str(group["name"])
    everywhere = {each["uid"]: each for each in grafana.rules()}
    there = grafana.rule_group(folder.uid, name) if (folder.uid, name) in _places(everywhere) else None
    ours = [_sent(rule, folder.uid, name) for rule in group["rules"]]
    merged = _merge(ours, (there or {}).get("rules") or [], everywhere, (folder.uid, name), overwrite)
    seconds = int(_seconds(group["interval"]))
    interval = seconds if overwrite or not there else int(there.get("interval", seconds))
    fate, why = _fate(there, merged, interval)
    return Step(
        kind=_KIND,
        uid=f"{folder.uid}/{name}",
        title=name,
        fate=fate,
        why=why,
        behind=bool(merged.kept),
        there=None if there is None else _by_uid(there.get("rules") or []),
        ours=_by_uid(ours),
        needs=(_READ, _WRITE),
        write=partial(
            grafana.put_rule_group,
            {"title": name, "folderUid": folder.uid, "interval": interval, "rules": merged.rules},
        ),
        again=partial(step, grafana, folder, group, overwrite),
    )


def told(rule: Mapping[str, Any]) -> Json:
    """What a rule says, however it is written, without what Grafana fills in; lengths of time in seconds."""
    plain = ("uid", "title", "condition", "noDataState", "execErrState")
    return {
        **{name: rule.get(name) for name in plain},
        "for": _seconds(rule.get("for", "0s")),
        "keep_firing_for": _seconds(rule.get("keep_firing_for", "0s")),
        "labels": rule.get("labels") or {},
        "annotations": rule.get("annotations") or {},
        "isPaused": bool(rule.get("isPaused")),
        "data": [_query(each) for each in rule.get("data", [])],
    }


def _places(everywhere: Mapping[str, Json]) -> set[tuple[str, str]]:
    return {(rule["folderUID"], rule["ruleGroup"]) for rule in everywhere.values()}


def _by_uid(rules: Iterable[Mapping[str, Any]]) -> Json:
    return {rule["uid"]: told(rule) for rule in rules}


def _query(each: Mapping[str, Any]) -> Json:
    model = {name: value for name, value in each["model"].items() if name not in _FILLED}
    return {
        "refId": each["refId"],
        "datasourceUid": each["datasourceUid"],
        "range": {name: int((each.get("relativeTimeRange") or {}).get(name, 0)) for name in ("from", "to")},
        "model": model,
    }


def _seconds(length: Any) -> float:
    """A length of time as Grafana and Prometheus write it: `1h30m`; a number is seconds."""
    if isinstance(length, int | float):
        return float(length)
    return float(sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdwy])", length)))


def _sent(rule: Mapping[str, Any], folder: str, group: str) -> Json:
    """A rule of the file as the API has it, marked."""
    names = {"keepFiringFor": "keep_firing_for"}
    sent = {names.get(name, name): value for name, value in rule.items()}
    sent |= {"orgID": 1, "folderUID": folder, "ruleGroup": group, "isPaused": bool(rule.get("isPaused"))}
    first, *rest = rule["data"]
    mark = digest(told(sent))
    return {**sent, "data": [{**first, "model": {**first["model"], _MARK: mark}}, *rest]}


@dataclass(frozen=True, slots=True)
class _Merged:
    """What the group is to be, and by name what is changed, kept as people left it, and read from a file."""

    rules: list[Json]
    changed: list[str]
    kept: list[str]
    filed: list[str]


def _merge(
    ours: list[Json], there: list[Json], everywhere: Mapping[str, Json], place: tuple[str, str], overwrite: bool
) -> _Merged:
    found = _Merged([], [], [], [])
    present = {rule["uid"]: rule for rule in there}
    for rule in ours:
        now = everywhere.get(rule["uid"])
        elsewhere = now is not None and (now.get("folderUID"), now.get("ruleGroup")) != place
        _settle(found, rule, present.get(rule["uid"]) or now, elsewhere, overwrite)
    names = {rule["uid"] for rule in ours}
    for rule in there:
        if rule["uid"] in names:
            continue
        # One that was pushed once and is no more goes, unless somebody made it their own.
        if _as_pushed(rule):
            found.changed.append(rule["title"])
        else:
            found.rules.append(rule)
    return found


def _settle(found: _Merged, rule: Json, now: Json | None, elsewhere: bool, overwrite: bool) -> None:
    same = now is not None and told(now) == told(rule)
    if now is not None and not overwrite and (elsewhere or not (same or _as_pushed(now))):
        found.kept.append(rule["title"])
        if not elsewhere:
            found.rules.append(now)
        return
    if same and not elsewhere and now is not None:
        found.rules.append(now)
        return
    if now is not None and now.get("provenance") == "file":
        found.filed.append(rule["title"])
    found.changed.append(rule["title"])
    found.rules.append(rule)


def _as_pushed(rule: Json) -> bool:
    queries = rule.get("data") or [{"model": {}}]
    return bool(queries[0]["model"].get(_MARK) == digest(told(rule)))


def _fate(there: Json | None, merged: _Merged, interval: int) -> tuple[Fate, str]:
    if merged.filed:
        return Fate.BLOCKED, _FILE.format(names=", ".join(merged.filed))
    kept = f"changed in Grafana: {', '.join(merged.kept)}" if merged.kept else ""
    if there is None and merged.rules:
        return Fate.CREATE, kept
    if merged.changed or (there is not None and int(there.get("interval", interval)) != interval):
        changed = f"{len(merged.changed)} of {len(merged.rules)}"
        return Fate.UPDATE, f"{changed}; {kept}" if kept else changed
    return (Fate.KEEP, kept) if kept else (Fate.SAME, "")
