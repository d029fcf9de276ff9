"""Every error as application/problem+json, and how the OpenAPI document tells of it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from gpufleet_server.domain.problem import CONTENT_TYPE, Problem

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What is wrong with a request (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Always about:blank."},
        "title": {"type": "string", "description": "The phrase of the status."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong, and what to do about it."},
        "field": {"type": "string", "description": "The part at fault, such as query.limit."},
    },
}

_MEANINGS = {
    400: "The body can't be read.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token's kind does not allow this.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "The name stands for several; the detail lists them.",
    413: "The body is too large.",
    422: "A parameter is unknown or has a value that can't be; `field` names it.",
    500: "The server failed; its log says why.",
    503: "The store does not answer now; Retry-After says when to ask again.",
}
_OF_BODY = (400, 408, 413)
_HEADERS = {401: "WWW-Authenticate", 503: "Retry-After"}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can fail in these ways, besides those that all share."""
    return {status: _documented(status) for status in sorted({401, 403, 422, 500, 503, *statuses})}


def _documented(status: int) -> dict[str, Any]:
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    header = _HEADERS.get(status)
    headers = {"headers": {header: {"schema": {"type": "string"}}}} if header else {}
    return {"description": _MEANINGS[status], "content": content} | headers


def install(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""
    app.exception_handler(Problem)(_problem)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_crash)


def response(problem: Problem) -> Response:
    """The answer that tells of a problem."""
    return JSONResponse(problem.body(), problem.status, problem.all_headers())


async def _problem(request: Request, error: Problem) -> Response:
    if error.field is not None and "." not in error.field:
        error.field = f"{'path' if error.field in request.path_params else 'query'}.{error.field}"
    return response(error)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    found: Sequence[Mapping[str, Any]] = error.errors()
    if found[0]["type"] == "json_invalid":
        return response(
            Problem(400, f"the body is not JSON: {found[0]['ctx']['error']}, at {found[0]['loc'][1]}", "body")
        )
    fields = [".".join(str(part) for part in one["loc"]) for one in found]
    detail = "; ".join(f"{field}: {_said(one)}" for field, one in zip(fields, found, strict=True))
    return response(Problem(422, detail, fields[0]))


def _said(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such parameter here"
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    # Our own messages quote the value already.
    return message if error["type"] == "value_error" else f"{message}, not {repr(error['input'])[:80]}"


async def _http(request: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return response(Problem(404, f"there is nothing at {request.url.path}"))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return response(Problem(405, f"{request.method} is not possible here", headers=dict(error.headers or {})))
    detail = "the body is not JSON in UTF-8" if error.status_code == HTTPStatus.BAD_REQUEST else str(error.detail)
    field = "body" if error.status_code in _OF_BODY else None
    return response(Problem(error.status_code, detail, field, headers=dict(error.headers or {})))


async def _crash(request: Request, error: Exception) -> Response:
    # The server logs the traceback; it is none of the caller's business.
    return response(Problem(500, "the server failed to answer; its log says why"))
