"""TCP proxies that can be cut, and that see the requests which agents send."""

import asyncio
import random
from collections.abc import Callable, Sequence

Seen = Callable[[bytes], None]
_CHUNK = 1 << 16


class Proxy:
    """Listens on a loopback port and passes everything on to one of several ports, chosen at random."""

    def __init__(self, targets: Sequence[int], chance: random.Random, seen: Seen | None = None) -> None:
        """`seen` is given the body of each HTTP request that comes through, whole ones only."""
        self._targets, self._chance, self._seen = targets, chance, seen
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End every connection at once, in the middle of whatever it carries."""
        for writer in list(self._open):
            writer.transport.abort()

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets = list(self._targets)
        self._chance.shuffle(targets)
        for port in targets:
            try:
                onward = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            await self._join((reader, writer), onward)
            return
        writer.transport.abort()

    async def _join(self, near: "_Stream", far: "_Stream") -> None:
        tap = Bodies(self._seen) if self._seen is not None else None
        self._open |= {near[1], far[1]}
        try:
            await asyncio.gather(_pass(near[0], far[1], tap), _pass(far[0], near[1], None))
        finally:
            self._open -= {near[1], far[1]}


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: "Bodies | None") -> None:
    try:
        while data := await reader.read(_CHUNK):
            if tap is not None:
                tap.feed(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Bodies:
    """Finds the bodies in a stream of HTTP/1.1 requests that tell their length."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._buffer = seen, b""

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _length(self._buffer[:end])
            body_end = end + 4 + length
            if len(self._buffer) < body_end:
                return
            self._seen(self._buffer[end + 4 : body_end])
            self._buffer = self._buffer[body_end:]


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0
