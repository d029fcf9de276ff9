"""The stand-in's HTTP API: rights, then the schema, then what Grafana does."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema_rs import Validator, validator_for
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.dashboards.grafana_stand_in import requests as schemas
from tests.dashboards.grafana_stand_in.roles import Permissions, may
from tests.dashboards.grafana_stand_in.state import ApiError, Board, Json, State

Handler = Callable[["Call"], Json | list[Json]]
# Any of these actions, on a scope that is made of what is asked for.
Right = tuple[tuple[str, ...], str]

_READ_RULES = ("alert.provisioning:read", "alert.rules.provisioning:read", "alert.rules:read")
_WRITE_RULES = (
    "alert.provisioning:write",
    "alert.rules.provisioning:write",
    "alert.provisioning.provenance:write",
)


class Call:
    """One request that is allowed and well formed."""

    def __init__(self, state: State, request: Request, who: str, permissions: Permissions, body: Json) -> None:
        self.state, self.request, self.who, self.permissions, self.body = state, request, who, permissions, body

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def demand(self, actions: tuple[str, ...], *scopes: str) -> None:
        """ApiError where none of the actions is allowed."""
        if not any(may(self.permissions, action, *scopes) for action in actions):
            needed = actions[0] if len(actions) == 1 else f"any of {', '.join(actions)}"
            text = f"You'll need additional permissions to perform this action. Permissions needed: {needed}"
            raise ApiError(403, text, title="Access denied", accessErrorId="ACE0123456789")


class Api:
    """The routes. `tokens`: token → (name, permissions). `violations`: what was not as documented."""

    def __init__(self, state: State, tokens: dict[str, tuple[str, Permissions]], version: str) -> None:
        self.state, self.tokens, self.version = state, tokens, version
        self.users: dict[tuple[str, str], Permissions] = {}
        self.violations: list[str] = []
        self.app = Starlette(
            routes=[
                self._route("GET", "/api/health", self._health, open_to_all=True),
                self._route("GET", "/api/frontend/settings", self._settings),
                self._route("GET", "/api/access-control/user/permissions", lambda call: dict(call.permissions)),
                self._route("GET", "/api/folders", _folders),
                self._route("POST", "/api/folders", _create_folder, schemas.FOLDER),
                self._route("GET", "/api/folders/{uid}", _folder),
                self._route("POST", "/api/datasources", _create_datasource, schemas.NEW_DATASOURCE),
                self._route("GET", "/api/datasources/uid/{uid}", _datasource),
                self._route("PUT", "/api/datasources/uid/{uid}", _update_datasource, schemas.DATASOURCE),
                self._route("GET", "/api/search", _search),
                self._route("POST", "/api/dashboards/db", _save_board, schemas.BOARD),
                self._route("GET", "/api/dashboards/uid/{uid}", _board),
                self._route("GET", "/api/dashboards/uid/{uid}/versions", _versions),
                self._route("GET", "/api/v1/provisioning/alert-rules", _rules),
                self._route("GET", "/api/v1/provisioning/folder/{folder}/rule-groups/{group}", _group),
                self._route(
                    "PUT", "/api/v1/provisioning/folder/{folder}/rule-groups/{group}", _put_group, schemas.RULE_GROUP
                ),
                Route("/{rest:path}", self._unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
            ]
        )

    def _route(
        self,
        method: str,
        path: str,
        handler: Handler,
        schema: Mapping[str, Any] | None = None,
        *,
        open_to_all: bool = False,
    ) -> Route:
        validator = validator_for(dict(schema)) if schema else None

        async def endpoint(request: Request) -> Response:
            try:
                who, permissions = ("", {}) if open_to_all else self._known(request)
                body = self._body(request, await request.body(), validator)
                return JSONResponse(handler(Call(self.state, request, who, permissions, body)))
            except ApiError as error:
                return JSONResponse(error.body, error.code)

        return Route(path, endpoint, methods=[method])

    def _known(self, request: Request) -> tuple[str, Permissions]:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind == "Bearer" and given in self.tokens:
            return self.tokens[given]
        if kind == "Basic" and (found := self._user(given)):
            return found
        raise ApiError(401, "Invalid API key", messageId="api-key.invalid", statusCode=401, traceID="")

    def _user(self, given: str) -> tuple[str, Permissions] | None:
        import base64

        name, _, password = base64.b64decode(given).decode().partition(":")
        permissions = self.users.get((name, password))
        return None if permissions is None else (name, permissions)

    def _body(self, request: Request, body: bytes, validator: Validator | None) -> Json:
        if validator is None:
            if body:
                self._wrong(request, "has a body, which is not documented")
            return {}
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            self._wrong(request, "is not application/json")
        found: Json = json.loads(body)
        for error in validator.iter_errors(found):
            self._wrong(request, f"{list(error.instance_path)}: {error.message[:200]}")
        return found

    def _wrong(self, request: Request, what: str) -> None:
        self.violations.append(f"{request.method} {request.url.path} {what}")
        raise ApiError(400, f"bad request data: {what}")

    async def _unknown(self, request: Request) -> Response:
        self.violations.append(f"{request.method} {request.url.path} is not among what is documented")
        return JSONResponse({"message": "Not found"}, 404)

    def _health(self, _: Call) -> Json:
        return {"commit": "0000000", "database": "ok", "version": self.version}

    def _settings(self, _: Call) -> Json:
        return {"buildInfo": {"version": self.version, "edition": "Open Source", "commit": "0000000"}, "appUrl": ""}


def _present(found: Any, what: str) -> Any:
    if found is None:
        raise ApiError(404, f"{what} not found")
    return found


def _folders(call: Call) -> list[Json]:
    call.demand(("folders:read",))
    return [{name: each[name] for name in ("id", "uid", "title")} for each in call.state.folders.values()]


def _folder(call: Call) -> Json:
    uid = call.part("uid")
    call.demand(("folders:read",), f"folders:uid:{uid}")
    found: Json = _present(call.state.folders.get(uid), "folder")
    return {**found, "url": f"/dashboards/f/{uid}", "hasAcl": False, "canSave": True, "createdBy": "admin"}


def _create_folder(call: Call) -> Json:
    call.demand(("folders:create",))
    return call.state.create_folder(call.body)


def _shown(call: Call, found: Json) -> Json:
    secrets = call.state.secrets.get(found["uid"], {})
    return {**found, "secureJsonFields": {name: True for name, value in secrets.items() if value}}


def _datasource(call: Call) -> Json:
    uid = call.part("uid")
    call.demand(("datasources:read",), f"datasources:uid:{uid}")
    return _shown(call, _present(call.state.datasources.get(uid), "Data source"))


def _create_datasource(call: Call) -> Json:
    call.demand(("datasources:create",))
    made = call.state.create_datasource(call.body)
    return {"message": "Datasource added", "id": made["id"], "name": made["name"], "datasource": _shown(call, made)}


def _update_datasource(call: Call) -> Json:
    uid = call.part("uid")
    call.demand(("datasources:write",), f"datasources:uid:{uid}")
    _present(call.state.datasources.get(uid), "Data source")
    made = call.state.update_datasource(uid, call.body)
    return {"message": "Datasource updated", "id": made["id"], "name": made["name"], "datasource": _shown(call, made)}


def _search(call: Call) -> list[Json]:
    call.demand(("dashboards:read",))
    folders = call.request.query_params.getlist("folderUIDs")
    found = [(uid, board) for uid, board in call.state.boards.items() if not folders or board.folder in folders]
    return [{"uid": uid, "title": board.newest["title"], "type": "dash-db", "id": board.id} for uid, board in found]


def _find(call: Call) -> Board:
    uid = call.part("uid")
    board: Board = _present(call.state.boards.get(uid), "Dashboard")
    call.demand(("dashboards:read",), f"dashboards:uid:{uid}", f"folders:uid:{board.folder}")
    return board


def _board(call: Call) -> Json:
    board = _find(call)
    meta = {"type": "db", "canSave": True, "version": board.version, "folderUid": board.folder, "slug": "board"}
    meta |= {"provisioned": bool(board.provisioned), "provisionedExternalId": board.provisioned}
    return {"dashboard": call.state.shown(board), "meta": meta}


def _versions(call: Call) -> Json:
    limit = int(call.request.query_params.get("limit", 1000))
    return {"continueToken": "", "versions": _find(call).entries[:limit]}


def _save_board(call: Call) -> Json:
    uid, folder = call.body["dashboard"].get("uid"), call.body.get("folderUid", "general")
    scopes = (f"folders:uid:{folder}", f"dashboards:uid:{uid}")
    call.demand(("dashboards:write",) if uid in call.state.boards else ("dashboards:create",), *scopes)
    return call.state.save_board(call.body, call.who)


def _rules(call: Call) -> list[Json]:
    call.demand(_READ_RULES)
    return list(call.state.rules.values())


def _group(call: Call) -> Json:
    call.demand(_READ_RULES)
    found: Json = _present(call.state.group(call.part("folder"), call.part("group")), "rule group")
    return found


def _put_group(call: Call) -> Json:
    call.demand(_WRITE_RULES)
    provenance = "" if "x-disable-provenance" in call.request.headers else "api"
    call.state.put_group(call.part("folder"), call.part("group"), call.body, provenance)
    return call.body
