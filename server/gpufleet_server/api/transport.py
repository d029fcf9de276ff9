"""HEAD wherever there is GET, bodies bounded in size and time, and nothing kept in caches."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 << 10
_BODY_SECONDS = 60


class Transport:
    """Wraps an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HEAD as GET without its body, refuse large bodies, and forbid caches to keep any answer."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        head = scope["method"] == "HEAD"

        async def transported(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["cache-control"] = "no-store"
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return await self._app({**scope, "method": "GET"} if head else scope, _bounded(receive), transported)


def _bounded(receive: Receive) -> Receive:
    """The same, but 413 or 408 as soon as a body is too large or too slow: whoever sends it may have no token."""
    size, more = 0, True

    async def receiving() -> Message:
        nonlocal size, more
        if not more:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), _BODY_SECONDS)
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {_BODY_SECONDS} s") from None
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes")
        return message

    return receiving
