"""A webhook: each change of an alert, posted as JSON and signed.

    X-Gpufleet-Delivery: 4711                 the same for every try: who has seen it takes no notice of another
    X-Gpufleet-Timestamp: 1795334400          when it was sent, seconds since the epoch
    X-Gpufleet-Signature: v1=6c1f…[,v1=…]     HMAC-SHA256, hex, over the timestamp, a full stop and the body

A receiver takes a request whose signature is right (one for each secret, while one is replaced), whose timestamp is
less than five minutes from its own clock, and whose delivery it has not seen: `verify` does the first two.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gpufleet_server.alerts.delivery.errors import NotDelivered, ReceiversError
from gpufleet_server.alerts.delivery.http import Poster
from gpufleet_server.alerts.delivery.settings import WebhookSettings, shown
from gpufleet_server.store.deliveries import Delivery

DELIVERY, TIMESTAMP, SIGNATURE = "X-Gpufleet-Delivery", "X-Gpufleet-Timestamp", "X-Gpufleet-Signature"
VERSION = 1
_TOLERANCE_S = 300


class Webhook:
    """Posts to one URL. From one thread at a time."""

    # Each change is a request of its own.
    most = 1

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings, self._poster = settings, Poster(settings)

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Post them. NotDelivered where one is not taken."""
        for delivery in deliveries:
            body = msgspec.json.encode(payload(delivery))
            try:
                headers = signed(body, self._settings.secrets(), int(time.time()))
            except ReceiversError as error:
                raise NotDelivered(f"{shown(self._settings.url)}: {error}") from error
            self._poster.post(self._settings.url, body, {DELIVERY: str(delivery.id), **headers})

    def close(self) -> None:
        """Close its connections."""
        self._poster.close()


def payload(delivery: Delivery) -> dict[str, Any]:
    """What is posted: the alert as it was when this happened to it."""
    return {"version": VERSION, "delivery": delivery.id, "change": delivery.change, "alert": delivery.message}


def signed(body: bytes, secrets: Sequence[str], timestamp: int) -> dict[str, str]:
    """The headers that sign a body, with each of the secrets."""
    found = ",".join(f"v1={_signature(body, secret, str(timestamp))}" for secret in secrets)
    return {TIMESTAMP: str(timestamp), SIGNATURE: found}


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether a request was signed with this secret, and not long ago: what a receiver has to ask.

    `headers` in any case; `now` in seconds since the epoch.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp = given.get(TIMESTAMP.lower(), "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > _TOLERANCE_S:
        return False
    expected = f"v1={_signature(body, secret, timestamp)}"
    offered = given.get(SIGNATURE.lower(), "").split(",")
    return any(hmac.compare_digest(expected.encode(), each.strip().encode()) for each in offered)


def _signature(body: bytes, secret: str, timestamp: str) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
