"""Reads a server through its REST API."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# httpx has a command line of its own, which is optional and takes longer to load than httpx itself.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
import httpx  # noqa: E402

from gpufleet_server import __version__  # noqa: E402
from gpufleet_server.cli.errors import CliError, Unreachable  # noqa: E402
from gpufleet_server.cli.plain import clean  # noqa: E402
from gpufleet_server.cli.settings import Access  # noqa: E402

Params = Mapping[str, str | int | float | bool | list[str] | None]
Json = dict[str, Any]

_PAGE = 500
# A parameter in a problem: its name, and which of several values it is.
_PARAMETER = re.compile(r"\bquery\.(\w+)(?:\.\d+)?")
# What the API calls otherwise than the option is called.
_OPTIONS = {"start": "since", "end": "until"}


class NotFound(CliError):
    """The server has no such thing."""


class Api:
    """The REST API of one server. Every method raises CliError where no good answer comes.

    Answers are safe to show on a terminal, or with `raw` exactly as they came.
    """

    def __init__(self, access: Access, timeout: float = 30.0, *, raw: bool = False) -> None:
        self.server = access.server
        self._raw = raw
        try:
            self._http = httpx.Client(
                base_url=f"{access.server}/api/v1",
                headers={"authorization": f"Bearer {access.token}", "user-agent": f"gpufleet/{__version__}"},
                timeout=timeout,
                # Reading the machine's certificates takes longer than all the rest of a command.
                verify=access.server.startswith("https://"),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise CliError(f"can't use the server {access.server!r} with this token: {error}", 2) from error

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Json:
        """The JSON object at a path; parameters that are None are left out."""
        return self._asked(
            "GET", path, params={key: value for key, value in (params or {}).items() if value is not None}
        )

    def post(self, path: str, body: Json) -> Json:
        """The JSON object that comes of posting another one to a path."""
        return self._asked("POST", path, json=body)

    def delete(self, path: str, params: Params) -> None:
        """Have what is at a path ended."""
        self._asked("DELETE", path, params=params)

    def _asked(self, method: str, path: str, **request: Any) -> Json:
        try:
            answer = self._http.request(method, path, **request)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"can't reach {self.server}: {error or type(error).__name__}") from error
        if answer.is_success:
            return {} if answer.status_code == httpx.codes.NO_CONTENT else self._object(answer)
        raise self._refused(answer)

    def pages(self, path: str, params: Params, limit: int | None) -> Json:
        """A listing over as many pages as it takes, `limit` items at most: the first page with the items of all.

        `next` is null where there are no more items than these.
        """
        items: list[Json] = []
        whole: Json = {}
        for page in self._pages(path, params, limit):
            items += page["items"]
            whole = whole or page
            whole["next"] = page["next"]
            if limit is not None and len(items) >= limit:
                break
        return whole | {"items": items[:limit]}

    def _pages(self, path: str, params: Params, limit: int | None) -> Iterator[Json]:
        asked = dict(params) | {"limit": min(limit or _PAGE, _PAGE)}
        while True:
            page = self.get(path, asked)
            yield page
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def _object(self, answer: httpx.Response) -> Json:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CliError(f"{answer.url} answers {answer.status_code} with something that is no gpufleet answer")
        return found if self._raw else clean(found)

    def _refused(self, answer: httpx.Response) -> CliError:
        detail = _detail(answer)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return CliError(f"{self.server} does not take this token: {detail}")
        if answer.status_code == httpx.codes.NOT_FOUND and _is_problem(answer):
            return NotFound(f"{self.server}: {detail}")
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and _is_problem(answer):
            return CliError(f"{self.server} refuses {_by_option(detail, answer.json().get('field'))}", 2)
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return Unreachable(f"{answer.request.url} answers {answer.status_code}: {detail}")
        return CliError(f"{answer.request.url} answers {answer.status_code}: {detail}")


def _by_option(detail: str, field: str | None) -> str:
    """What is wrong with a parameter, which is called as its option is."""
    named = detail if field is None or detail.startswith(field) else f"{field}: {detail}"
    return _PARAMETER.sub(lambda found: f"--{_OPTIONS.get(found[1], found[1])}", named)


def _is_problem(answer: httpx.Response) -> bool:
    content_type: str = answer.headers.get("content-type", "")
    return content_type.startswith("application/problem+json")


def _detail(answer: httpx.Response) -> str:
    if not _is_problem(answer):
        return f"{answer.reason_phrase or 'no reason'} (is this a gpufleet server?)"
    problem = answer.json()
    return str(clean(problem.get("detail") or problem.get("title")))
