"""A small real HTTP proxy: tunnels for CONNECT, passes on what names a whole URL, and may want a password."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class ForwardProxy:
    """What was asked of it. `authorization` is what it wants to be shown, if anything."""

    def __init__(self, authorization: str | None = None) -> None:
        self.port = 0
        self.authorization = authorization
        self.asked: list[str] = []


@contextmanager
def proxying(proxy: ForwardProxy) -> Iterator[ForwardProxy]:
    """Serve `proxy` while the block runs."""

    class Handler(_Handler):
        of = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    of: ForwardProxy
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """A connection; who goes away in the middle of it is not worth a word."""
        with contextlib.suppress(OSError):
            super().handle()

    def do_CONNECT(self) -> None:
        """A tunnel, until one end closes it."""
        if not self._may():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), 10) as far:
            self.send_response(200, "Connection established")
            self.end_headers()
            _carry(self.connection, far)
        self.close_connection = True

    def do_POST(self) -> None:
        """Pass it on."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._may():
            return
        url = urlsplit(self.path)
        far = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
        given = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        far.request(self.command, url.path, body, given)
        answer = far.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        far.close()

    do_GET = do_POST

    def _may(self) -> bool:
        self.of.asked.append(f"{self.command} {self.path}")
        if self.of.authorization in (None, self.headers.get("Proxy-Authorization")):
            return True
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _carry(near: socket.socket, far: socket.socket) -> None:
    while True:
        for end in select.select([near, far], [], [], 10)[0] or [near]:
            data = end.recv(1 << 16)
            if not data:
                return
            (far if end is near else near).sendall(data)
