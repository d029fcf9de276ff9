"""Chat, mail and pagers through Apprise, an optional extra: `pip install 'gpufleet-server[apprise]'`."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

from gpufleet_server.alerts.delivery.alert import Change
from gpufleet_server.alerts.delivery.errors import NotDelivered, ReceiversError
from gpufleet_server.store.deliveries import Delivery

_KINDS = {"critical": "failure", "warning": "warning", "info": "info"}
_MOST_SHOWN = 300


def installed() -> bool:
    """Whether the extra is installed."""
    return find_spec("apprise") is not None


def fingerprint(url: str) -> str:
    """What one of Apprise's URLs, which hold secrets, is called where people see it."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def shown(url: str) -> str:
    """The service of one of Apprise's URLs and its fingerprint: nothing else of it is shown anywhere."""
    scheme = url.partition("://")[0]
    return f"{scheme}://… ({fingerprint(url)})" if scheme.isalnum() else f"… ({fingerprint(url)})"


class Notification:
    """Tells one of Apprise's URLs. From one thread at a time."""

    # What waits together is told in one message: nobody reads a hundred.
    most = 20

    def __init__(self, url: str) -> None:
        """ReceiversError where Apprise is not installed, or does not know what to do with the URL."""
        self._url = url
        self._apprise = _apprise(url)

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Tell them in one message. NotDelivered where that fails."""
        import apprise

        kind = apprise.NotifyType(_kind(deliveries))
        done = self._apprise.notify(title=title(deliveries), body=body(deliveries), notify_type=kind)
        if not done:
            raise NotDelivered(f"{shown(self._url)}: {_why((line.message for line in done.logs()), self._url)}")

    def close(self) -> None:
        """Nothing is kept open."""


def title(deliveries: Sequence[Delivery]) -> str:
    """What happened, in a line."""
    if len(deliveries) == 1:
        return _line(deliveries[0])
    firing = sum(delivery.change == Change.FIRING for delivery in deliveries)
    counts = ((firing, "firing"), (len(deliveries) - firing, "resolved"))
    return f"{len(deliveries)} alerts: " + ", ".join(f"{count} {what}" for count, what in counts if count)


def body(deliveries: Sequence[Delivery]) -> str:
    """What is wrong and what to do."""
    if len(deliveries) == 1:
        return _text(deliveries[0])
    return "\n\n".join(f"{_line(delivery)}\n{_text(delivery)}" for delivery in deliveries)


def _line(delivery: Delivery) -> str:
    alert = delivery.message
    state = alert["severity"].upper() if delivery.change == Change.FIRING else "RESOLVED"
    labels = alert["labels"]
    where = " ".join(labels[name] for name in ("site", "rack", "hostname") if labels.get(name))
    where += f" GPU {labels['index']}" if labels.get("index") else ""
    return " ".join(part for part in (f"[{state}]", alert["rule"], where and f"on {where}") if part)


def _text(delivery: Delivery) -> str:
    alert = delivery.message
    parts = [alert["text"]]
    if delivery.change == Change.FIRING:
        parts += [alert["advice"], f"Since {alert['fired_at']}."]
    else:
        parts += [f"It was so from {alert['fired_at']} to {alert['resolved_at']}."]
    return "\n".join(part for part in parts if part)


def _kind(deliveries: Sequence[Delivery]) -> str:
    firing = {str(each.message["severity"]) for each in deliveries if each.change == Change.FIRING}
    return next((kind for severity, kind in _KINDS.items() if severity in firing), "warning" if firing else "success")


def _apprise(url: str) -> Any:
    if not installed():
        raise ReceiversError("Apprise is not installed: pip install 'gpufleet-server[apprise]'")
    import apprise

    asset = apprise.AppriseAsset(app_id="gpufleet", app_desc="gpufleet", async_mode=False)
    it = apprise.Apprise(asset=asset)
    if not it.add(url):
        raise ReceiversError(f"{shown(url)}: Apprise knows no such service, or something of its URL is missing")
    return it


def _why(said: Iterable[str], url: str) -> str:
    """The last lines of what Apprise said, with nothing of what may be secret in the URL."""
    text = "; ".join([*said][-2:]) or "it failed"
    for part in {url, *re.split("[/:@?&=]", url)}:
        if len(part) > 3:
            text = text.replace(part, "…")
    return text[:_MOST_SHOWN]
