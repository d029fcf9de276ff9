"""The agent: wires reader, collector, spool and delivery together and runs them in one thread."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gpufleet_agent import __version__
from gpufleet_agent.backends.backend import Backend
from gpufleet_agent.config import Config
from gpufleet_agent.host import product_uuid, read_host
from gpufleet_agent.node import node_id
from gpufleet_agent.runtime.clock import monotonic
from gpufleet_agent.runtime.collector import Collector
from gpufleet_agent.runtime.control import Standing
from gpufleet_agent.runtime.delivery import Delivery
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.fault_sources import FaultSources
from gpufleet_agent.runtime.files import make_folder
from gpufleet_agent.runtime.frames import Happened, Ticked
from gpufleet_agent.runtime.known import KnownGpus
from gpufleet_agent.runtime.maintenance import Maintenance
from gpufleet_agent.runtime.notify import Notifier
from gpufleet_agent.runtime.proxy import proxy_for
from gpufleet_agent.runtime.push import Link
from gpufleet_agent.runtime.reader import Attribute
from gpufleet_agent.runtime.reader_lock import ReaderLock
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.runtime.supervisor import Patience, Supervisor
from gpufleet_agent.runtime.trust import trust_of
from gpufleet_agent.runtime.unspooled import Unspooled
from gpufleet_agent.wire import Backlog

if TYPE_CHECKING:
    from gpufleet_agent.listener import Listener
    from gpufleet_agent.snapshot import Snapshot

_LOG = logging.getLogger("gpufleet_agent")
_TELL_DROPPED_SECONDS = 600.0
_FAREWELL_SECONDS = 5.0
# What a disk says that takes nothing now, as that of a machine in trouble does.
_TAKES_NOTHING = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})


class Refused(Exception):
    """The agent cannot run like this; the text says why."""


class Agent:
    """One node's agent. `run` returns when it was told to stop."""

    def __init__(
        self, config: Config, backend: Backend, root: Path = Path("/"), patience: Patience | None = None
    ) -> None:
        """Take over the state folder. Refused where that, the token or the port cannot be had."""
        self._config = config
        host = read_host(config, root=root)
        self._lock = _take_folder(config.state_dir)
        try:
            node = node_id(config.state_dir, host, product_uuid(root))
        except OSError as error:
            raise Refused(
                f"{config.state_dir}: this machine has no id of its own and none can be kept: {error}"
            ) from None
        self._spool: Spool | None = None
        self._delivery: Delivery | None = None
        if config.server is not None:
            self._spool = Spool(config.state_dir, node, config.spool_size, config.spool_age)
            self._delivery = self._make_delivery(config.server, node, host.hostname, self._spool)
        told = self._spool.newest_events() if self._spool is not None else []
        self._faults = FaultSources(config.kernel_log, root, config.state_dir, told, config.usage)
        self._collector = Collector(
            node,
            lambda facts: self._faults.described(read_host(config, facts, root)),
            config.interval,
            self._spool or Unspooled(),
        )
        known, lock = KnownGpus(config.state_dir), ReaderLock(config.state_dir)
        self._supervisor = Supervisor(backend, config.interval, patience, self._accounts(root), known, lock)
        self._sampled_at: int | None = None
        self._maintenance = Maintenance(config.state_dir, self._lock, self._supervisor, self._stand)
        self._snapshot: Snapshot | None = None
        self._listener = self._listen()
        self._notifier = Notifier(os.environ)
        self._stopping = False
        self._wakeup = -1
        self._tell_dropped_at = 0.0
        self.node = node

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; then close the open report and try to push what waits. The exit code."""
        _LOG.info(
            "gpufleet-agent %s: node %s, every %g s, %s",
            __version__,
            self.node,
            self._config.interval,
            f"to {self._config.server}" if self._config.server else "no server",
        )
        # What was made so far stays: left out of collections, its pages stay shared with the reader.
        gc.collect()
        gc.freeze()
        with _signals(self._stop) as self._wakeup:
            self._notifier.ready()
            while not self._stopping:
                self._wait()
                self._read()
                self._deliver()
                self._notifier.stand(self._status())
            self._notifier.stopping()
            self._say_farewell()
        return 0

    def _status(self) -> str:
        driver = self._supervisor.driver
        told = f"driver {driver.state}" if driver else "the driver is being opened"
        if self._spool is None or self._delivery is None:
            return told
        waiting = self._spool.backlog.reports
        return f"{told}, {'server reachable' if self._delivery.reachable else f'{waiting} reports wait'}"

    def _stand(self) -> Standing:
        return Standing(
            version=__version__,
            node=self.node,
            pid=os.getpid(),
            reader=self._supervisor.reader,
            driver=self._supervisor.driver,
            pause=self._maintenance.pause,
            sampled_at=self._sampled_at,
            server=self._config.server,
            trouble=self._delivery.trouble if self._delivery is not None else "",
            backlog=self._spool.backlog if self._spool is not None else Backlog(),
        )

    def _stop(self) -> None:
        self._stopping = True

    def _make_delivery(self, server: str, node: str, hostname: str, spool: Spool) -> Delivery:
        token = self._config.join_token()
        enroller = Enroller(self._config.state_dir, node, hostname, token)
        if enroller.credential is None and token is None:
            why = enroller.trouble or "this node is not enrolled yet"
            raise Refused(f"{why}: give a join token (--token-file, GPUFLEET_AGENT_TOKEN)")
        if enroller.trouble:
            _LOG.warning("%s; another credential is asked for", enroller.trouble)
        proxy = proxy_for(server, self._config.proxy, os.environ)
        return Delivery(Link(server, trust_of(self._config), proxy, self._attend), spool, enroller)

    def _accounts(self, root: Path) -> Attribute | None:
        """What tells who uses the GPUs, where the server shall know."""
        if not self._config.usage or self._config.server is None:
            return None
        from gpufleet_agent.usage.accounts import Accounts
        from gpufleet_agent.usage.attribution import Attribution

        return Accounts(Attribution(root, user_names=self._config.user_names)).used

    def _listen(self) -> Listener | None:
        if self._config.metrics_listen is None:
            return None
        from gpufleet_agent.listener import Listener
        from gpufleet_agent.snapshot import Snapshot

        # Each of them only where it is wanted: prometheus_client is large.
        if self._config.dcgm_names:
            from gpufleet_agent.dcgm_names import CONTENT_TYPE, render
        else:
            from gpufleet_agent.exposition import CONTENT_TYPE, render
        self._snapshot = snapshot = Snapshot()
        try:
            listener = Listener(self._config.metrics_listen, lambda: render(self._look(snapshot)), CONTENT_TYPE)
        except OSError as error:
            host, port = self._config.metrics_listen
            raise Refused(f"metrics_listen: {host}:{port}: {error.strerror}") from None
        _LOG.info("metrics at http://%s:%d/metrics", self._config.metrics_listen[0], listener.port)
        return listener

    def _look(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what is asked for only when somebody scrapes."""
        snapshot.roster, snapshot.driver = self._collector.roster, self._supervisor.driver
        snapshot.states = self._collector.states
        snapshot.backlog = self._spool.backlog if self._spool else snapshot.backlog
        return snapshot

    def _wait(self) -> None:
        """Sleep until something came or is due, and answer scrapes."""
        delivery = self._delivery.due if self._delivery else float("inf")
        self._sleep(min(self._supervisor.due, self._collector.due, delivery))

    def _attend(self, fd: int, seconds: float) -> None:
        """While the server lets us wait for its answer: what the reader tells goes to disk all the same."""
        self._sleep(min(self._supervisor.due, self._collector.due, monotonic() + seconds), fd)
        self._read()
        if self._stopping and self._delivery is not None:
            self._delivery.hurry(_FAREWELL_SECONDS)

    def _sleep(self, due: float, answer: int | None = None) -> None:
        readers = [fd for fd in (self._wakeup, self._supervisor.fd, answer) if fd is not None]
        readers += self._maintenance.readers + self._faults.readers
        writers: list[int] = []
        due = min(due, self._notifier.due, self._maintenance.due, self._faults.due)
        if self._listener is not None:
            due = min(due, self._listener.due)
            readers, writers = readers + self._listener.readers, self._listener.writers
        ready = select.select(readers, writers, [], min(max(0.0, due - monotonic()), 60.0))[0]
        if self._wakeup in ready:
            os.read(self._wakeup, 64)
        if self._listener is not None:
            self._listener.tend()
        self._notifier.tend()

    def _read(self) -> None:
        """Take in what the reader and the driver's state have to say, and close the report if it is due."""
        self._maintenance.tend()
        before = self._supervisor.driver
        frames = self._supervisor.tend()
        driver = self._supervisor.driver
        for frame in self._faults.paired(frames):
            self._collector.take(frame)
            if isinstance(frame, Ticked):
                self._sampled_at = frame.at
            if self._snapshot is not None:
                self._snapshot.take(frame)
        events = self._supervisor.take_events() + self._maintenance.take_events()
        if driver is not None and driver != before:
            if not events:  # which say the same
                level = logging.INFO if driver.state == "ok" else logging.WARNING
                _LOG.log(level, "driver %s%s", driver.state, driver.detail and f": {driver.detail}")
            self._collector.stand(driver)
        self._collector.tell(events)
        self._read_kernel_log()
        self._collector.tend()
        if self._spool is not None:
            self._collector.tell(self._spool.take_notices(), urgent=False)
        self._maintenance.answer()

    def _read_kernel_log(self) -> None:
        events = self._faults.look(self._collector.roster)
        if events:
            self._collector.tell(events)
            if self._snapshot is not None:
                self._snapshot.take(Happened(events))
        self._faults.remember()

    def _deliver(self) -> None:
        """One step of the delivery, if it is time."""
        if self._delivery is None or self._spool is None:
            return
        if self._delivery.due <= monotonic():
            ack, events = self._delivery.step()
            self._collector.tell(events, urgent=False)
            if ack is not None and ack.roster_wanted:
                self._collector.want_roster(ack.seq)
        if self._delivery.reachable or monotonic() >= self._tell_dropped_at:
            dropped = self._spool.take_dropped()
            if dropped is not None:
                self._collector.tell([dropped], urgent=False)
                self._tell_dropped_at = monotonic() + _TELL_DROPPED_SECONDS

    def _say_farewell(self) -> None:
        end = monotonic() + _FAREWELL_SECONDS
        self._maintenance.close()
        for frame in self._faults.paired(self._supervisor.stop()):
            self._collector.take(frame)
        self._read_kernel_log()
        self._faults.close()
        if self._spool is not None:
            dropped = self._spool.take_dropped()
            self._collector.tell([dropped] if dropped else [], urgent=False)
        self._collector.seal()
        while self._delivery is not None and self._delivery.due <= monotonic() < end:
            self._delivery.step(limit=end - monotonic())
        if self._delivery is not None and self._spool is not None:
            self._delivery.close()
            _LOG.info("stopped; %d reports wait", self._spool.backlog.reports)
        if self._listener is not None:
            self._listener.close()
        if self._lock >= 0:
            os.close(self._lock)


def _take_folder(folder: Path) -> int:
    """Make the state folder ours alone, for as long as the descriptor is open. The folder itself bears the lock.

    -1 where there is none and the disk takes none: then nothing is kept.
    """
    try:
        make_folder(folder, mode=0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _TAKES_NOTHING:
            _LOG.warning("state_dir: %s: %s: everything is kept in memory only", folder, error.strerror)
            return -1
        raise Refused(f"state_dir: {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Refused(f"state_dir: {folder}: another agent is using it") from None
    return lock


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[int]:
    """SIGTERM and SIGINT call `stop`; gives a descriptor that becomes readable when they come."""
    wakeup, written = os.pipe()
    os.set_blocking(written, False)
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    try:
        yield wakeup
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wakeup)
        os.close(written)
