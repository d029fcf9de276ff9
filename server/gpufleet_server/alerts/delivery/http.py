"""Posts JSON to receivers."""

import email.utils
import ssl
import time
from collections.abc import Iterator, Mapping

import httpx

from gpufleet_server import __version__
from gpufleet_server.alerts.delivery.errors import NotDelivered, ReceiversError
from gpufleet_server.alerts.delivery.settings import Reach, shown

# As much of an answer as is read at most, bytes, and shown, characters.
_MOST_READ = 1 << 16
_MOST_SHOWN = 300
# What no second try can change: the body is not what the receiver takes, or the place is gone for good.
_FINAL = frozenset({400, 410, 413, 415, 422})
_LONGEST_AFTER = 3600.0


class _Credentials(httpx.Auth):
    """Tells who we are, with secrets that are read for each request: they may be replaced at any time."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        """Add the header."""
        if (token := self._reach.token()) is not None:
            request.headers["authorization"] = f"Bearer {token}"
        elif self._reach.username is not None:
            yield from httpx.BasicAuth(self._reach.username, self._reach.password() or "").auth_flow(request)
            return
        yield request


class Poster:
    """Keeps connections to one receiver. From one thread at a time."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._http: httpx.Client | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post a JSON body. NotDelivered where it is not taken with a 2xx."""
        try:
            with self._client(url).stream("POST", url, content=body, headers=headers) as answer:
                said = _beginning(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # A certificate may have been renewed: files are read again for the next try.
            self.close()
            raise NotDelivered(f"{shown(url)}: {str(error) or type(error).__name__}") from error
        except (OSError, UnicodeEncodeError, ReceiversError) as error:
            # Certificates and secrets are read when they are needed.
            raise NotDelivered(f"{shown(url)}: {error}") from error
        if not answer.is_success:
            raise _refused(url, answer, said)

    def close(self) -> None:
        """Close its connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _client(self, url: str) -> httpx.Client:
        if self._http is None:
            headers = {"content-type": "application/json", "user-agent": f"gpufleet/{__version__}"}
            reach = self._reach
            # Reading the machine's certificates takes longer than a request.
            verify = _tls(reach) if url.startswith("https:") else False
            # Redirects are not followed: a signature, or a password, is for the one place it was made for.
            self._http = httpx.Client(headers=headers, timeout=reach.timeout_s, verify=verify, auth=_Credentials(reach))
        return self._http


def _tls(reach: Reach) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=reach.ca_file)
    if reach.client_cert is not None:
        context.load_cert_chain(reach.client_cert, reach.client_key)
    return context


def _beginning(answer: httpx.Response) -> str:
    """The beginning of what it says: no receiver makes us read more than that."""
    said = b""
    for part in answer.iter_bytes():
        said += part
        if len(said) > _MOST_READ:
            break
    return " ".join(said.decode(errors="replace")[:_MOST_SHOWN].split())


def _refused(url: str, answer: httpx.Response, said: str) -> NotDelivered:
    status = answer.status_code
    what = f"{shown(url)} answers {status}{f': {said}' if said else ''}"
    return NotDelivered(what, final=status in _FINAL, after=_after(answer), status=status)


def _after(answer: httpx.Response) -> float | None:
    """Seconds to wait, where the answer says so: a number, or a date."""
    told = answer.headers.get("retry-after", "")
    if told.isascii() and told.isdigit():
        return min(float(told), _LONGEST_AFTER)
    try:
        until = email.utils.parsedate_to_datetime(told).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(0.0, until - time.time()), _LONGEST_AFTER)
