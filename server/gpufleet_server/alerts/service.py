"""Alerts as a server has them: the engine, and those that tell others, started and stopped together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gpufleet_server.alerts.delivery.dispatcher import Dispatcher
from gpufleet_server.alerts.delivery.settings import Receivers
from gpufleet_server.alerts.delivery.source import StoreSource
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import INTERVAL_S, Engine
from gpufleet_server.alerts.facts import of_receivers
from gpufleet_server.alerts.overrides import Overrides, usual
from gpufleet_server.alerts.servers import Facts
from gpufleet_server.domain import clock
from gpufleet_server.domain.xids import Table, catalogue
from gpufleet_server.store.engine import Store


@dataclass(frozen=True, slots=True)
class Settings:
    """How alerts are evaluated, and who is told. A round every `interval` s."""

    overrides: Overrides = field(default_factory=lambda: usual(every_rule()))
    interval: float = INTERVAL_S
    xids: Table = field(default_factory=catalogue)
    receivers: Receivers = field(default_factory=Receivers)


class Alerting:
    """The engine and the dispatcher on a store."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        now: Callable[[], int] = clock.now,
        facts: Callable[[], Facts] | None = None,
    ) -> None:
        """`facts` are what the server tells of itself. ReceiversError where a receiver's secret can't be had."""
        rules = settings.overrides.rules
        source = StoreSource(store, lambda name: rules[name].rule.advice if name in rules else "", now)
        # Who evaluates also tells: two elections could have two winners.
        self.dispatcher = Dispatcher(
            store, settings.receivers, source, now, elected=lambda: self.engine.statistics.elected
        )
        self._now, self._facts = now, facts
        self.engine = Engine(
            store,
            settings.overrides,
            now,
            interval=settings.interval,
            xids=settings.xids,
            changed=self.dispatcher.wake,
            facts=self._all_facts if facts is not None else None,
            spread=True,
        )

    def start(self) -> None:
        """Begin to evaluate, and to tell."""
        self.engine.start()
        self.dispatcher.start()

    def stop(self) -> None:
        """End: first evaluating, then telling."""
        self.engine.stop()
        self.dispatcher.stop()

    def happened(self, events: Iterable[tuple[str, int]]) -> None:
        """Events of these kinds were committed, of these nodes."""
        self.engine.happened(events)

    @property
    def trouble(self) -> str | None:
        """Why alerts are not evaluated here, or None."""
        return self.engine.trouble

    def _all_facts(self) -> Facts:
        """What the server tells of itself, and of receivers where it is this server that tells them.

        Another one's standings are of when it last did.
        """
        known = self._facts() if self._facts is not None else {}
        return {**known, **(of_receivers(self.dispatcher.standings, self._now()) if self.dispatcher.elected else {})}
