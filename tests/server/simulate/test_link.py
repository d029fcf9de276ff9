"""The HTTP client of simulated agents, against real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from gpufleet_server.simulate.link import Link, LinkError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """A listening socket that handles each connection so; its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def take(reader: asyncio.StreamReader) -> bytes:
    """A request's body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(int(length.split(b":")[1]))


def echoing(requests: int, connections: list[int]) -> Handler:
    """Answers with the body, so many requests a connection, and counts connections."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        for _ in range(requests):
            body = await take(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Thing:  a \r\n\r\n%s" % (len(body), body))

    return handle


async def post(url: str, *bodies: bytes) -> list[bytes]:
    """The answers to these bodies, one after the other."""
    link = Link(url)
    answers = [await link.post("/x", lambda: {"a": "b"}, body) for body in bodies]
    link.close()
    assert all(answer.status == 200 and answer.headers["x-thing"] == "a" for answer in answers)
    return [answer.body for answer in answers]


def test_a_connection_is_kept() -> None:
    """Three requests use one connection."""
    connections: list[int] = []

    async def main() -> None:
        async with peer(echoing(3, connections)) as url:
            assert await post(url, b"one", b"", b"three" * 1000) == [b"one", b"", b"three" * 1000]

    asyncio.run(main())
    assert len(connections) == 1


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """The server closes after each answer without saying so; the next request is sent on a new connection."""
    connections: list[int] = []

    async def main() -> None:
        async with peer(echoing(1, connections)) as url:
            assert await post(url, b"one", b"two") == [b"one", b"two"]

    asyncio.run(main())
    assert len(connections) == 2


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\n", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 100_000],
)  # fmt: skip
def test_no_answer_is_an_error(said: bytes) -> None:
    """A server that closes, says rubbish or too much, or too little, is a LinkError."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(said)

    async def main() -> None:
        async with peer(handle) as url:
            with pytest.raises(LinkError):
                await post(url, b"one")

    asyncio.run(main())


def test_nobody_there_is_an_error() -> None:
    """A port on which nobody listens is a LinkError that names the address."""
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:1"):
        asyncio.run(post("http://127.0.0.1:1", b""))


def test_a_url_must_be_one() -> None:
    """Anything but http and https is refused at once."""
    with pytest.raises(ValueError, match="ftp"):
        Link("ftp://example")
