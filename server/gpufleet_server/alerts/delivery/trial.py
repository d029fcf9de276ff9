"""Tells one receiver of an alert that is none, to see whether it takes it."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from gpufleet_server.alerts.delivery.alert import Alert
from gpufleet_server.alerts.delivery.alertmanager import Alertmanager
from gpufleet_server.alerts.delivery.channels import Receiver
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.notification import Notification, shown
from gpufleet_server.alerts.delivery.settings import Receivers
from gpufleet_server.alerts.delivery.settings import shown as shown_url
from gpufleet_server.alerts.delivery.webhook import Webhook
from gpufleet_server.domain import clock
from gpufleet_server.store.deliveries import WAITING, Delivery

# An alert that ends as it begins is told of by nobody.
_LASTS_S = 1.0


def alert(now: int) -> Alert:
    """An alert that is none."""
    return Alert(
        id=0,
        rule="gpufleet_test",
        severity="info",
        labels={"alertname": "gpufleet_test", "severity": "info", "hostname": socket.gethostname()},
        text="This is a test of gpufleet: nothing is wrong.",
        advice="Nothing is to be done.",
        fired_at=now,
    )


def try_out(receivers: Receivers, name: str) -> Iterator[str]:
    """Tell all places of a receiver that it fires, and that it ended; those that took both.

    NotDelivered, ReceiversError. An alert that an Alertmanager takes is shown by it for a second.
    """
    fires = alert(clock.now())
    if name in receivers.alertmanager:
        settings = receivers.alertmanager[name]
        for url in settings.urls:
            with closing(Alertmanager(url, settings)) as it:
                _tell(it, fires)
            yield shown_url(url)
    elif name in receivers.webhook:
        hook = receivers.webhook[name]
        with closing(Webhook(hook)) as webhook:
            _send(webhook, fires)
        yield shown_url(hook.url)
    else:
        for url in receivers.apprise[name].urls():
            _send(Notification(url), fires)
            yield shown(url)


def _tell(it: Alertmanager, fires: Alert) -> None:
    refused = it.send([fires])
    if not refused:
        time.sleep(_LASTS_S)
        refused = it.send([replace(fires, resolved_at=clock.now())])
    for each in refused:
        raise NotDelivered(each.reason)


def _send(receiver: Receiver, fires: Alert) -> None:
    for number, each in enumerate((fires, replace(fires, resolved_at=clock.now())), 1):
        now, name = each.changed_at, each.rule
        receiver.send([Delivery(-number, 0, name, each.change, WAITING, each.told(), now, now, 1, now, None, None, "")])
