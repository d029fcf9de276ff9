"""What Grafana's documentation says that each request's body may hold, as JSON schema in our own words.

From the HTTP API reference of Grafana 12 and 13 (folder, dashboard, data source, alerting provisioning); nothing of
Grafana's own document of its API is copied.
"""

from typing import Any

Schema = dict[str, Any]

_UID: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]*$", "maxLength": 40}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_WHOLE: Schema = {"type": "integer"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
# Prometheus' lengths of time.
_LENGTH: Schema = {"type": "string", "pattern": "^(([0-9]+)(ms|[smhdwy]))+$"}


def _object(needed: dict[str, Schema], maybe: dict[str, Schema] | None = None, *, closed: bool = True) -> Schema:
    return {
        "type": "object",
        "properties": needed | (maybe or {}),
        "required": sorted(needed),
        "additionalProperties": not closed,
    }


FOLDER = _object({"title": {"type": "string", "minLength": 1}}, {"uid": _UID, "parentUid": _UID, "description": _TEXT})

_DATASOURCE: dict[str, Schema] = {
    "url": _TEXT,
    "user": _TEXT,
    "database": _TEXT,
    "basicAuth": _FLAG,
    "basicAuthUser": _TEXT,
    "withCredentials": _FLAG,
    "isDefault": _FLAG,
    "jsonData": {"type": "object"},
    "secureJsonData": _TEXTS,
    "uid": _UID,
}
_NAMED: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 190},
    "type": {"type": "string", "minLength": 1},
    "access": {"enum": ["proxy", "direct"]},
}
NEW_DATASOURCE = _object(_NAMED, _DATASOURCE)
DATASOURCE = _object(_NAMED, _DATASOURCE | {"version": _WHOLE})

_PANEL = _object(
    {"type": _TEXT, "id": _WHOLE},
    {"gridPos": _object(dict.fromkeys("hwxy", _WHOLE), {"static": _FLAG})},
    closed=False,
)
BOARD = _object(
    {"dashboard": _object(
        {"title": {"type": "string", "minLength": 1, "maxLength": 5000}},
        {
            "id": {"type": ["integer", "null"]},
            "uid": {"anyOf": [_UID, {"type": "null"}]},
            "version": _WHOLE,
            "schemaVersion": _WHOLE,
            "tags": {"type": "array", "items": _TEXT},
            "panels": {"type": "array", "items": _PANEL},
            "templating": _object({}, {"list": {"type": "array"}}),
            "annotations": _object({}, {"list": {"type": "array"}}),
            "time": _object({"from": _TEXT, "to": _TEXT}),
            "refresh": {"type": ["string", "boolean"]},
        },
        closed=False,
    )},
    {
        "folderUid": _UID,
        "folderId": _WHOLE,
        "message": {"type": "string", "maxLength": 500},
        "overwrite": _FLAG,
        "isFolder": _FLAG,
        "updatedAt": _TEXT,
        "userId": _WHOLE,
    },
)  # fmt: skip

_QUERY = _object(
    {"refId": {"type": "string", "minLength": 1}, "datasourceUid": _TEXT, "model": {"type": "object"}},
    {"queryType": _TEXT, "relativeTimeRange": _object({"from": _WHOLE, "to": _WHOLE})},
)
_RULE = _object(
    {
        "orgID": _WHOLE,
        "folderUID": _UID,
        "ruleGroup": {"type": "string", "minLength": 1, "maxLength": 190},
        "title": {"type": "string", "minLength": 1, "maxLength": 190},
        "condition": _TEXT,
        "data": {"type": "array", "items": _QUERY, "minItems": 1},
        "noDataState": {"enum": ["Alerting", "NoData", "OK", "KeepLast"]},
        "execErrState": {"enum": ["OK", "Alerting", "Error", "KeepLast"]},
        "for": _LENGTH,
    },
    {
        "id": _WHOLE,
        "uid": _UID,
        "updated": _TEXT,
        "provenance": _TEXT,
        "annotations": _TEXTS,
        "labels": _TEXTS,
        "isPaused": _FLAG,
        "keep_firing_for": _LENGTH,
        "notification_settings": {"type": ["object", "null"]},
        "record": {"type": ["object", "null"]},
        "missingSeriesEvalsToResolve": _WHOLE,
    },
)
RULE_GROUP = _object(
    {"rules": {"type": "array", "items": _RULE}}, {"title": _TEXT, "folderUid": _UID, "interval": _WHOLE}
)
