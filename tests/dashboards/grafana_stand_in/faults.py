"""What can go wrong between a Grafana and who asks it, in front of the stand-in."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass
class Faults:
    """What goes wrong from now on.

    `cut_at`: at which request (from 1) the connection is reset in the middle of the answer. `before`: so that Grafana
    has not done what was asked. `for_good`: so are all later ones.
    `page` and `redirect`: what answers in Grafana's place. `wait`: seconds until an answer.
    """

    cut_at: int | None = None
    before: bool = False
    for_good: bool = False
    wait: float = 0.0
    page: str | None = None
    redirect: str | None = None
    asked: int = 0

    def reset(self) -> None:
        """All is well again, and requests are counted from the start."""
        self.__init__()  # type: ignore[misc]

    def cuts(self) -> bool:
        """Whether this request, the `asked`th, is cut."""
        if self.cut_at is None:
            return False
        return self.asked >= self.cut_at if self.for_good else self.asked == self.cut_at


def before(app: App, faults: Faults) -> App:
    """The app behind the faults."""

    async def faulty(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        faults.asked += 1
        if faults.wait:
            await asyncio.sleep(faults.wait)
        if faults.redirect is not None:
            await _answer(send, 302, b"", (b"location", faults.redirect.encode() + scope["path"].encode()))
        elif faults.page is not None:
            await _answer(send, 200, faults.page.encode(), (b"content-type", b"text/html; charset=UTF-8"))
        elif faults.cuts():
            await _cut(app, scope, receive, send, done=not faults.before)
        else:
            await app(scope, receive, send)

    return faulty


async def _answer(send: Send, status: int, body: bytes, header: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [header, length]})
    await send({"type": "http.response.body", "body": body})


async def _cut(app: App, scope: Message, receive: Receive, send: Send, *, done: bool) -> None:
    async def nowhere(_: Message) -> None:
        return

    if done:
        await app(scope, receive, nowhere)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"half', "more_body": True})
    # uvicorn's own end of the connection: ASGI has no word for a reset.
    send.__self__.transport.abort()  # type: ignore[attr-defined]
