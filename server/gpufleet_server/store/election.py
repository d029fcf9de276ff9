"""An election among the servers on one PostgreSQL: a lease, which whoever has it renews."""

import logging
import secrets
import threading
import time

from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import SQLAlchemyError

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.server_name import server_name
from gpufleet_server.store.errors import cause

_LOG = logging.getLogger(__name__)

# How long a lease lasts, and how often it is renewed, s; after a failure sooner.
LENGTH_S = 20.0
_RENEW_S, _AGAIN_S = 5.0, 1.0
# Its holder believes in it for a little less: no two clocks go alike.
_BELIEVED = 0.95
# A thread that waits for the database is not waited for.
_JOIN_S = 1.0

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_UNTIL = f"until = {_NOW} + CAST(:length AS bigint)"
# One that reaches far ahead was taken before the clock was set back.
_TAKE = text(
    f"UPDATE leases SET holder = :holder, {_UNTIL} WHERE name = :name AND "
    f"(holder = :holder OR until NOT BETWEEN {_NOW} AND {_NOW} + 2 * CAST(:length AS bigint))"
)
_RENEW = text(f"UPDATE leases SET {_UNTIL} WHERE name = :name AND holder = :holder")
_GIVE_BACK = text("UPDATE leases SET holder = '', until = 0 WHERE name = :name AND holder = :holder")
_THERE = text("SELECT 1 FROM leases WHERE name = :name")


class Election:
    """One candidate. Who follows a killed winner waits until its lease is over; who follows one that closed does not.

    Two may believe to be elected for a moment, as when the database's clock jumps or a standby takes over with what it
    has: their work must bear that. Alerts are changed by compare-and-set, upkeep has locks of its transactions.
    """

    def __init__(self, engine: Engine, name: str, *, length: float = LENGTH_S, renew: float = _RENEW_S) -> None:
        """For the row of `leases` of this name. The lease lasts `length` and is renewed every `renew` seconds."""
        self._lease = _Lease(engine, name, f"{server_name()}:{secrets.token_hex(8)}", length)
        self._every, self._tenure = renew, _Tenure(self._lease, renew, float("-inf"))

    def won(self) -> bool:
        """Whether the lease is this one's now; it is taken where it is free. False where the database is gone, or busy.

        The database is asked only by who has no lease: once one is there a thread of its own renews it.
        """
        if self._tenure.lasts():
            return True
        self._tenure.end()
        asked = time.monotonic()
        try:
            taken = self._lease.take()
        except SQLAlchemyError as error:
            # Also where all connections are taken: many nodes may enrol at once.
            _LOG.info("no election for %s: %s", self._lease.name, cause(error))
            return False
        if taken:
            self._tenure = _Tenure(self._lease, self._every, asked)
            self._tenure.begin()
        return self._tenure.lasts()

    def close(self) -> None:
        """Leave it to others, at once."""
        lasted = self._tenure.lasts()
        self._tenure.end()
        if lasted:
            try:
                self._lease.give_back()
            except SQLAlchemyError as error:
                _LOG.info("the lease for %s is left to run out: %s", self._lease.name, cause(error))


class _Lease:
    """A row of `leases`, for one candidate. SQLAlchemyError where the database does not answer."""

    def __init__(self, engine: Engine, name: str, holder: str, length: float) -> None:
        # In no transaction that a candidate who hangs could leave open, with the row locked.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.name, self.holder, self.length = name, holder, length

    def take(self) -> bool:
        """Have it, where it is free, over, or this one's; whether it is."""
        if self._done(_TAKE):
            return True
        if not self._done(_THERE):
            _LOG.error("the table leases has no row %r: nobody is elected", self.name)
        return False

    def renew(self) -> bool:
        """Have it for its whole length from now on; False: it is another's."""
        return self._done(_RENEW)

    def give_back(self) -> None:
        """Let others have it, where it is still this one's."""
        self._done(_GIVE_BACK)

    def _done(self, statement: TextClause) -> bool:
        given = {"name": self.name, "holder": self.holder, "length": round(self.length * SECOND)}
        with self._engine.connect() as connection:
            return connection.execute(statement, given).rowcount == 1


class _Tenure:
    """The time for which a lease is one candidate's: until it ends it, or the lease could not be renewed in time."""

    def __init__(self, lease: _Lease, every: float, asked: float) -> None:
        """`asked`: when (by the monotonic clock, s) the lease was asked for, which is before it began."""
        self._lease, self._every, self._ended = lease, every, threading.Event()
        self._until = asked + lease.length * _BELIEVED
        self._thread: threading.Thread | None = None

    def lasts(self) -> bool:
        """Whether it is not over."""
        return not self._ended.is_set() and time.monotonic() < self._until

    def begin(self) -> None:
        """Renew the lease from now on, in a thread: between two calls of its holder there may be minutes of work."""
        self._thread = threading.Thread(target=self._run, name=f"gpufleet-lease-{self._lease.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Renew it no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        pause = self._every
        while self.lasts() and not self._ended.wait(pause):
            pause = self._renew()

    def _renew(self) -> float:
        """Renew it; the seconds until it is tried again."""
        asked = time.monotonic()
        try:
            if self._lease.renew():
                self._until = asked + self._lease.length * _BELIEVED
            else:
                _LOG.warning("another server is elected for %s now", self._lease.name)
                self._ended.set()
        except SQLAlchemyError as error:
            _LOG.info("the lease for %s is not renewed yet: %s", self._lease.name, cause(error))
            return min(_AGAIN_S, self._every)
        return self._every
