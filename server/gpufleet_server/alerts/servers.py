"""What each server tells of itself, for rules over servers."""

from collections.abc import Callable, Mapping

from sqlalchemy import delete

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.server_name import server_host, server_name
from gpufleet_server.store.alerts import servers
from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.engine import Store

# Figures by name, and a few names; None where it is not known.
Facts = Mapping[str, float | str | None]
# A server that was not seen for so long has been put away, µs.
_FORGET = 7 * 86_400 * SECOND


class Self:
    """Writes the row of this server."""

    def __init__(self, store: Store, facts: Callable[[], Facts], started: int) -> None:
        self._store, self._facts, self._started = store, facts, started
        self.name = server_name()

    def write(self, now: int) -> None:
        """Tell how it stands now."""
        known = {"host": server_host()} | {name: value for name, value in self._facts().items() if value is not None}
        row = {"server": self.name, "started_at": self._started, "seen_at": now, "facts": known}
        with self._store.writing() as connection:
            new = insert_into(connection, servers)
            sets = {name: new.excluded[name] for name in ("started_at", "seen_at", "facts")}
            connection.execute(new.on_conflict_do_update(index_elements=["server"], set_=sets), row)
            connection.execute(delete(servers).where(servers.c.seen_at < now - _FORGET))

    def remove(self) -> None:
        """It ends as it should: nobody is to wonder where it is."""
        with self._store.writing() as connection:
            connection.execute(delete(servers).where(servers.c.server == self.name))
