"""Tells all receivers, in threads beside the server's work; of several servers the elected one."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from gpufleet_server.alerts.delivery.channels import AlertmanagerChannel, Channel, OutboxChannel, Standing
from gpufleet_server.alerts.delivery.notification import Notification, fingerprint, shown
from gpufleet_server.alerts.delivery.settings import AppriseSettings, Receivers, WebhookSettings
from gpufleet_server.alerts.delivery.settings import shown as shown_url
from gpufleet_server.alerts.delivery.source import Source
from gpufleet_server.alerts.delivery.webhook import Webhook
from gpufleet_server.domain import clock
from gpufleet_server.store import deliveries
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import OF_THE_STORE, cause

_LOG = logging.getLogger(__name__)

# How often it looks for changes that another server made, and whether it is still the one that tells, s.
_LOOK_S = 0.5
# Changes that come together are told together, s.
_GATHER_S = 0.1
_AFTER_FAULT_S = 5.0
_HOUSEKEEPING_S = 600.0
_DELIVERED_KEPT = 30 * 86_400 * clock.SECOND


class Dispatcher:
    """Runs the channels of all receivers while this server is elected."""

    def __init__(
        self,
        store: Store,
        receivers: Receivers,
        source: Source,
        now: Callable[[], int] = clock.now,
        *,
        elected: Callable[[], bool] = lambda: True,
    ) -> None:
        """`elected` says whether it is this server that tells.

        ReceiversError where a secret that is needed at once, such as Apprise's URLs, can't be had.
        """
        self._store, self._source, self._now, self._won = store, source, now, elected
        self._channels = list(channels(store, receivers, source, now))
        self._stopping, self._elected = threading.Event(), threading.Event()
        self._woken = [threading.Event() for _ in self._channels]
        self._threads: list[threading.Thread] = []
        self._cleaned = float("-inf")

    @property
    def standings(self) -> list[Standing]:
        """How it stands with each receiver."""
        return [channel.standing for channel in self._channels]

    @property
    def elected(self) -> bool:
        """Whether this server is the one that tells."""
        return self._elected.is_set()

    def wake(self) -> None:
        """An alert has changed: tell at once. From any thread."""
        for event in self._woken:
            event.set()

    def start(self) -> None:
        """Begin, where there is a receiver."""
        if not self._channels:
            return
        self._stopping.clear()
        self._elected.clear()
        pairs = zip(self._channels, self._woken, strict=True)
        self._threads = [threading.Thread(target=self._look, name="gpufleet-delivery", daemon=True)]
        self._threads += [
            threading.Thread(target=self._run, args=pair, name=f"gpufleet-{pair[0].standing.name}", daemon=True)
            for pair in pairs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is being told now."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for channel in self._channels:
            channel.close()

    def _look(self) -> None:
        """Look for changes, while it is this server that tells."""
        marker = None
        while not self._stopping.is_set():
            if self._won():
                self._elected.set()
                marker = self._changed(marker)
                self._clean()
            else:
                self._elected.clear()
            self._stopping.wait(_LOOK_S)
        self._elected.set()

    def _changed(self, marker: int | None) -> int | None:
        try:
            found = self._source.marker()
        except OF_THE_STORE as error:
            _LOG.warning("alerts: can't look for changes: %s", cause(error))
            return marker
        if found != marker:
            self.wake()
        return found

    def _clean(self) -> None:
        if time.monotonic() - self._cleaned < _HOUSEKEEPING_S:
            return
        self._cleaned = time.monotonic()
        try:
            with self._store.writing() as connection:
                deliveries.expire(connection, self._now())
                deliveries.forget(connection, self._now() - _DELIVERED_KEPT)
        except OF_THE_STORE as error:
            _LOG.warning("alerts: can't clean the outbox: %s", cause(error))

    def _run(self, channel: Channel, woken: threading.Event) -> None:
        while True:
            self._elected.wait()
            # Before that is looked at: else it would forget that it was woken to stop.
            woken.clear()
            if self._stopping.is_set():
                return
            pause = self._step(channel)
            failing = channel.standing.failing_since is not None
            # Who does not take them is not asked again sooner because there are more.
            self._stopping.wait(max(_GATHER_S, pause if failing else 0.0))
            if not failing:
                woken.wait(pause)

    def _step(self, channel: Channel) -> float:
        try:
            return channel.step()
        except Exception as error:  # noqa: BLE001
            # Nothing that goes wrong with one receiver may end its thread: nobody would be told any more.
            ours = error if not isinstance(error, OF_THE_STORE) else None
            _LOG.warning("alerts: telling %s failed: %s", channel.standing.name, cause(error), exc_info=ours)
            self._stopping.wait(_AFTER_FAULT_S)
            return 0.0


def channels(store: Store, receivers: Receivers, source: Source, now: Callable[[], int]) -> Iterator[Channel]:
    """A channel for each place that is told. ReceiversError."""
    for name, settings in receivers.alertmanager.items():
        for url in settings.urls:
            of_several = f"{name}/{fingerprint(url)}" if len(settings.urls) > 1 else name
            yield AlertmanagerChannel(of_several, url, settings, source, now)
    for name, hook in receivers.webhook.items():
        yield _webhook(name, hook, store, source, now)
    for name, told in receivers.apprise.items():
        for url in told.urls():
            yield _notification(name, told, url, store, source, now)


def _webhook(
    name: str, settings: WebhookSettings, store: Store, source: Source, now: Callable[[], int]
) -> OutboxChannel:
    standing, receiver = Standing(name, "webhook", shown_url(settings.url)), Webhook(settings)
    return OutboxChannel(
        standing, receiver, settings, source, store, resolved=settings.resolved, timeout_s=settings.timeout_s, now=now
    )


def _notification(
    name: str, settings: AppriseSettings, url: str, store: Store, source: Source, now: Callable[[], int]
) -> OutboxChannel:
    # Each URL has its own place in the outbox: when one of several fails, the others are not told again.
    standing = Standing(f"{name}/{fingerprint(url)}", "apprise", shown(url))
    return OutboxChannel(standing, Notification(url), settings, source, store, resolved=settings.resolved, now=now)
