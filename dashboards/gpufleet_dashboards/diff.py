"""What is different between a board as it is built and as it lies somewhere, such as exported from a Grafana."""

import difflib
from collections.abc import Mapping
from typing import Any

from gpufleet_dashboards.render import text_of

# What Grafana counts and numbers itself.
_GRAFANAS = frozenset({"id", "version", "iteration", "schemaVersion", "gnetId"})


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """A dashboard without what Grafana itself puts into it, and without what it fills in where nothing is."""
    kept = {key: value for key, value in document.items() if key not in _GRAFANAS}
    marks = kept.get("annotations", {}).get("list", [])
    kept["annotations"] = {"list": [mark for mark in marks if not _built_in(mark)]}
    return _without_nothing_in(kept)


def difference(name: str, there: Mapping[str, Any] | None, built: Mapping[str, Any]) -> list[str]:
    """Lines that building would change, as `diff -u` writes them; none where it is the same."""
    before = [] if there is None else text_of(plain(there)).splitlines()
    after = text_of(plain(built)).splitlines()
    return list(difflib.unified_diff(before, after, f"{name} there", f"{name} built", lineterm=""))


def _built_in(mark: Mapping[str, Any]) -> bool:
    datasource = mark.get("datasource")
    return isinstance(datasource, Mapping) and datasource.get("uid") == "-- Grafana --"


def _without_nothing_in(found: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {key: _without_nothing(each) for key, each in found.items()}
    return {key: each for key, each in cleaned.items() if each not in (None, "", [], {}, False)}


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_nothing_in(value)
    if isinstance(value, list):
        return [_without_nothing(each) for each in value]
    return value
