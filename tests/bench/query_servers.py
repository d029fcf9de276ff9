"""What a month of three servers leaves behind that take a large fleet's reports: themselves, and their minutes."""

from gpufleet_server.store.alerts import servers
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.server_minutes import add_up_hour, server_minutes
from gpufleet_server.store.tiers import DAY, HOUR, MINUTE
from sqlalchemy import Connection, text

_SERVERS = 3
# What a minute's row has, as SQL of the server's number `s` and of `gpus`; what is not here is 0.
_COLUMNS = {
    "covered": "60000", "stored": "gpus / 8 * 6 / 3", "samples": "gpus * 6 / 3", "values": "gpus * 180 / 3",
    "body_bytes": "gpus * 1100 / 3", "commits": "280", "commit_mean": "0.04 + 0.01 * s", "commit_max": "0.3",
    "waited_mean": "0.2", "queued_reports": "20 + s", "queued_bytes": "40000", "elected": "s = 1",
    "sealing_overdue": "CASE WHEN s = 1 THEN 0 END", "upkeep": "CASE WHEN s = 1 THEN 4.0 ELSE 0 END",
    "upkeep_cpu": "CASE WHEN s = 1 THEN 1.5 ELSE 0 END", "cpu": "14.0 + s", "memory": "400000000 + 1000000 * s",
}  # fmt: skip


def add_servers(connection: Connection, gpus: int, now: int, days: int) -> None:
    """Fill their tables until `now` (µs, a whole minute), for a fleet of so many GPUs. On PostgreSQL only."""
    known = [[f"server-{number}:1", now - days * DAY, now, {}] for number in range(1, _SERVERS + 1)]
    insert_rows(connection, servers, ["server", "started_at", "seen_at", "facts"], known)
    names = [column.name for column in server_minutes.c if column.name not in ("server", "at")]
    values = ", ".join(_COLUMNS.get(name, "0") for name in names)
    connection.execute(
        text(
            f"INSERT INTO server_minutes (server, at, {', '.join(names)}) "
            f"SELECT 'server-' || s || '\\:1', at, {values} "
            f"FROM generate_series(CAST(:begin AS bigint), :now - {MINUTE}, {MINUTE}) at "
            f"CROSS JOIN generate_series(1, {_SERVERS}) s CROSS JOIN (SELECT CAST(:gpus AS bigint) AS gpus) fleet "
            "ORDER BY at"
        ),
        {"begin": now - days * DAY, "now": now, "gpus": gpus},
    )
    for number in range(1, _SERVERS + 1):
        for hour in range((now - days * DAY) // HOUR * HOUR, now, HOUR):
            add_up_hour(connection, f"server-{number}:1", hour)
