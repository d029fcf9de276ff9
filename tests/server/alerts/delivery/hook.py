"""A small HTTP server that notes what is posted to it and answers as it is told to."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was posted; names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Hook:
    """Where it listens, and what came."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Answer] = field(default=lambda _request: Answer())

    def says(self, status: int, body: str = "", **headers: str) -> None:
        """From now on it answers so; `retry_after` is the header Retry-After."""
        told = Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = lambda _request: told


@contextmanager
def hook(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """One that runs while the block does, on a port or on a free one; with `tls` by https, as localhost."""
    it = Hook("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body)
            it.requests.append(request)
            answer = it.answer(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        # Connections that are kept open end with the test.
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Who posted may not have waited for the answer."""

    with Server(("127.0.0.1", port), Handler) as server:
        it.url = f"http://127.0.0.1:{server.server_port}"
        if tls is not None:
            it.url = f"https://localhost:{server.server_port}"
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield it
        finally:
            server.shutdown()
            thread.join()
