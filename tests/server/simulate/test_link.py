"""The HTTP client of simulated agents, against real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from gpufleet_server.simulate.link import Answer, Link, LinkError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """A listening socket that handles each connection so; its URL."""

    going: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        going.add(asyncio.current_task())
        # The client may close whenever it likes.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in going if task is not None))


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


class Asker:
    """Sends one body, and waits for what comes of it."""

    def __init__(self, link: Link, body: bytes) -> None:
        self._request = b"%scontent-length: %d\r\n\r\n%s" % (link.head("/x", a="b"), len(body), body)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        link.submit(self)

    def request(self) -> bytes:
        """The request."""
        return self._request

    def answered(self, answer: Answer) -> None:
        """It went well."""
        self.answer.set_result(answer)

    def failed(self, error: LinkError) -> None:
        """It did not."""
        self.answer.set_exception(error)


async def post(url: str, *bodies: bytes) -> list[bytes]:
    """The answers to these bodies, one after the other."""
    link = Link(url)
    try:
        answers = [await Asker(link, body).answer for body in bodies]
    finally:
        link.close()
        await asyncio.sleep(0)
    assert all(answer.status == 200 and b"X-Thing:  a " in answer.head for answer in answers)
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


def test_connections_are_bounded_and_the_first_comes_first() -> None:
    """Fifty requests at once over two connections are answered in the order in which they were submitted."""
    connections: list[int] = []
    order: list[int] = []

    async def ask(link: Link, number: int) -> None:
        await Asker(link, b"%d" % number).answer
        order.append(number)

    async def main() -> None:
        async with peer(echoing(50, connections)) as url:
            link = Link(url, connections=2)
            await asyncio.gather(*(ask(link, number) for number in range(50)))
            link.close()
            await asyncio.sleep(0)

    asyncio.run(main())
    assert len(connections) == 2
    assert all(abs(number - place) < 2 for place, number in enumerate(order))


def test_a_server_that_asks_for_a_pause_is_heard() -> None:
    """Retry-After is told in seconds; rubbish in it is no pause."""
    head = b"HTTP/1.1 503 x\r\nRetry-After: %s\r\n"
    assert [Answer(503, head % wait, b"").retry_after for wait in (b"7", b"soon")] == [7.0, 0.0]


def test_who_waits_for_a_turn_hears_that_all_is_closed() -> None:
    """Closing fails those that were sent and those that were not: none waits for an answer that never comes."""

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        async with peer(never) as url:
            link = Link(url, connections=1)
            askers = [Asker(link, b"") for _ in range(3)]
            await asyncio.sleep(0.05)
            link.close()
            answers = await asyncio.wait_for(asyncio.gather(*(a.answer for a in askers), return_exceptions=True), 5)
            assert [type(answer) for answer in answers] == [LinkError] * 3
            await asyncio.sleep(0)

    asyncio.run(main())
