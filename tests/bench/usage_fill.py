"""Who used a large fleet: holders and intervals put into a store as they come of reports, for what boards ask.

Eight jobs a node and day, each on all of its GPUs and one after the other, of owners that keep to two models. Two days
of all nodes are there as intervals, with all that upkeep makes of them; of nodes that are asked for (`watched`) all
days. The hours and days before are those of the first whole day, repeated: as many rows, of the same sizes.
"""

from collections.abc import Callable, Sequence

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.usage import usage, usage_daily
from gpufleet_server.store.usage_days import add_up_running_days
from gpufleet_server.store.usage_long import make_long
from gpufleet_server.store.usage_rebuild import rebuild_usage
from gpufleet_server.store.usage_waste import find_worst, owe_worst
from sqlalchemy import Connection, text

OWNERS, JOBS = 4000, 8
_PER_NODE = 8

# Three in four have a user and an account of Slurm, the others a namespace.
_OWNERS = """
INSERT INTO owners (owner_id, kind, "user", account, slurm_partition, namespace)
SELECT n, CASE WHEN n % 4 = 0 THEN 'kubernetes' ELSE 'slurm' END,
    CASE WHEN n % 4 = 0 THEN '' ELSE 'user' || n END, CASE WHEN n % 4 = 0 THEN '' ELSE 'account' || n % 200 END,
    CASE WHEN n % 4 = 0 THEN '' ELSE 'batch' || n % 5 END, CASE WHEN n % 4 = 0 THEN 'team-' || n ELSE '' END
FROM generate_series(1, :owners) n
"""

# A job has a number from its node, day and turn; from that all else of it comes, as if by chance. Each owner has GPUs
# of two models, mostly of one site.
_HOLDERS = """
INSERT INTO holders (holder_id, digest, owner_id, kind, cluster, job, step, pod, pod_uid, "user", account,
    slurm_partition, namespace, absent, first_seen, last_seen)
SELECT id, md5(id::text) || md5((-id)::text), owner_id, kind, CASE WHEN kind = 'slurm' THEN 'main' END,
    CASE WHEN kind = 'slurm' THEN id::text END, CASE WHEN kind = 'slurm' THEN '0' END,
    CASE WHEN kind = 'kubernetes' THEN 'train-' || id END,
    CASE WHEN kind = 'kubernetes' THEN md5(id::text) END, nullif("user", ''), nullif(account, ''),
    nullif(slurm_partition, ''), nullif(namespace, ''), '{}', :day, :day
FROM (
    SELECT id, 1 + (place + 1 - chance % 2) % places + places * (chance / 2 % (:owners / places)) AS owner_id
    FROM (
        SELECT (CAST(:number AS bigint) * 1000000 + node_id) * :jobs + turn AS id, place,
            max(place) OVER () + 1 AS places,
            (hashint8((CAST(:number AS bigint) * 1000000 + node_id) * :jobs + turn)::bigint & 1048575) AS chance
        FROM (SELECT node_id, dense_rank() OVER (ORDER BY site, max(model)) - 1 AS place
            FROM nodes JOIN gpus USING (node_id) GROUP BY node_id) placed
        CROSS JOIN generate_series(0, :jobs - 1) turn
    ) turns WHERE :everybody OR (id / :jobs) % 1000000 = ANY(:watched)
) jobs JOIN owners USING (owner_id)
"""

_INTERVALS = """
INSERT INTO usage (node_id, begin, slot, holder_id, partition, "end", owner_id, observed, active, held, memory_sum,
    memory_ms, activity_sum, activity_ms, memory_most, processes)
SELECT node_id, begin, slot, holder_id, '', until, owner_id, ms, ms - ms * idle / 100, ms * idle / 100,
    (20 + idle % 50) * 1048576 * ms, ms, 5000 * ms, ms, 64000000000, 1
FROM (
    SELECT *, (until - begin) / 1000 AS ms,
        -- One job in ten holds its GPUs nearly all of its time; the others now and then.
        CASE WHEN holder_id % 10 = 0 THEN 60 + holder_id % 40 ELSE holder_id % 15 END AS idle
    FROM (
        SELECT node_id, holder_id, owner_id,
            greatest(:day, :day + turn * :length - shift) AS begin,
            least(:until, CASE WHEN turn = :jobs - 1 THEN :day + :whole ELSE :day + (turn + 1) * :length - shift END)
                AS until
        FROM (SELECT node_id, turn, (CAST(:number AS bigint) * 1000000 + node_id) * :jobs + turn AS holder_id,
                abs(hashint8(node_id)::bigint) % :length AS shift
            FROM nodes CROSS JOIN generate_series(0, :jobs - 1) turn
            WHERE :everybody OR node_id = ANY(:watched)) turns
        JOIN holders USING (holder_id)
    ) jobs CROSS JOIN generate_series(0, :slots - 1) slot
    WHERE until > begin
) pieces
ORDER BY node_id, begin, slot
"""


def add_usage(store: Store, now: int, days: int, watched: Sequence[int], say: Callable[[str], None]) -> None:
    """Fill a store that has nodes of eight GPUs and no usage, until `now` (µs). On PostgreSQL only."""
    today = now // DAY * DAY
    with store.writing() as connection:
        _unhurried(connection)
        connection.execute(text(_OWNERS), {"owners": OWNERS})
    for day in range(today - days * DAY, today + 1, DAY):
        _add_day(store, day, now, watched, everybody=day >= today - DAY)
    say("usage intervals filled")
    rebuild_usage(store, today - DAY, now)
    add_up_running_days(store, now)
    with store.writing() as connection:
        owe_worst(connection, today)
    find_worst(store, now)
    say("usage of the last days added up")
    with store.writing() as connection:
        _unhurried(connection)
        for table, column in (
            ("usage_fleet", "day"),
            ("usage_kind_days", "day"),
            ("usage_waste_days", "at"),
            ("usage_fleet_hours", "hour"),
            ("usage_kind_hours", "hour"),
            ("usage_waste_hours", "at"),
        ):
            _repeat(connection, table, column, today - DAY, days - 1)
            # In the order of time, as they come.
            connection.execute(text(f"CLUSTER {table} USING pk_{table}"))
            connection.execute(text(f"ANALYZE {table}"))
    say("usage of the days before repeated")
    make_long(store, now)
    say("six hours and weeks of usage added up")


def _add_day(store: Store, day: int, now: int, watched: Sequence[int], *, everybody: bool) -> None:
    given = {
        "number": day // DAY, "day": day, "until": min(now, day + DAY), "length": DAY // JOBS, "jobs": JOBS,
        "owners": OWNERS, "slots": _PER_NODE, "everybody": everybody, "watched": list(watched), "whole": DAY,
    }  # fmt: skip
    with store.writing() as connection:
        _unhurried(connection)
        for table in (usage, usage_daily):
            partitions.make_for(connection, table, day)
        for statement in (_HOLDERS, _INTERVALS):
            used = {name: value for name, value in given.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
        if everybody:
            connection.execute(text("ANALYZE usage"))
            connection.execute(text("ANALYZE holders"))


def _repeat(connection: Connection, table: str, column: str, day: int, days: int) -> None:
    """Give the days before `day` its rows."""
    names = ", ".join(f'"{each.name}"' for each in metadata.tables[table].columns if each.name != column)
    connection.execute(text(f"DELETE FROM {table} WHERE {column} < :day"), {"day": day})
    connection.execute(
        text(
            f"INSERT INTO {table} ({column}, {names}) SELECT {column} - n * {DAY} AS shifted, {names} FROM {table} "
            f"CROSS JOIN generate_series(1, :days) n WHERE {column} >= :day AND {column} < :day + {DAY} ORDER BY 1"
        ),
        {"days": days, "day": day},
    )


def _unhurried(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    connection.execute(text("SET LOCAL work_mem = '256MB'"))
