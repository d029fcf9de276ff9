"""What is wrong with a request, as RFC 9457 says it (application/problem+json)."""

import dataclasses
from http import HTTPStatus
from typing import Any

CONTENT_TYPE = "application/problem+json"


@dataclasses.dataclass
class Problem(Exception):
    """A request that can't be served. `field` names the part at fault; `retry_after` is in seconds.

    `more` are further members of the answer.
    """

    status: int
    detail: str
    field: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    more: dict[str, int] = dataclasses.field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        about: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return about | ({"field": self.field} if self.field is not None else {}) | self.more

    def all_headers(self) -> dict[str, str]:
        """Headers of the answer, Retry-After included."""
        wait = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return {"content-type": CONTENT_TYPE} | self.headers | wait
