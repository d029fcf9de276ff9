"""PostgreSQL's views for whoever reads with psql: a row a GPU, or partition, and time, values in their units."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator

from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric
from sqlalchemy import Connection, text

from gpufleet_server.store.tiers import DAILY, HOUR, HOURLY, SEALED, USES, Tier

_Cell = Callable[[str, bool], str]
# Who was granted to read a view, as GRANT takes it.
_READERS = text(
    "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END FROM pg_class c "
    "CROSS JOIN LATERAL aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
    "WHERE c.oid = to_regclass(:name) AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner"
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Subject:
    """Whose rows a view has: the table of slots, how to find the rest, what tells one from another, and metrics."""

    table: str
    join: str
    names: tuple[str, ...]
    metrics: tuple[Metric, ...]


_GPU = _Subject("gpus", "", ("gpus.uuid AS gpu", "nodes.hostname AS node", "gpus.gpu_id"), EVERY_SAMPLE)
_PARTITION = _Subject(
    "partitions",
    " LEFT JOIN gpus ON gpus.gpu_id = partitions.gpu_id",
    ("partitions.uuid AS partition", "gpus.uuid AS gpu", "nodes.hostname AS node", "partitions.gpu_id"),
    tuple(metric for metric in EVERY_SAMPLE if metric.of_partitions),
)


def refresh(connection: Connection) -> None:
    """Make the views anew where the catalogue or this module changed; whoever might read them still may."""
    for name, select in _views():
        digest = hashlib.sha256(select.encode()).hexdigest()[:16]
        query = text("SELECT obj_description(to_regclass(:name), 'pg_class')")
        if connection.execute(query, {"name": name}).scalar_one() != f"gpufleet {digest}":
            readers = connection.execute(_READERS, {"name": name}).scalars().all()
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {select}")
            connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS 'gpufleet {digest}'")
            for reader in readers:
                connection.exec_driver_sql(f"GRANT SELECT ON {name} TO {reader}")


def _views() -> Iterator[tuple[str, str]]:
    for prefix, subject in (("", _GPU), ("partition_", _PARTITION)):
        yield f"{prefix}samples", f"{_of_planes(SEALED, subject)} UNION ALL {_of_recent(subject)}"
        yield f"{prefix}hourly_rollups", _of_planes(HOURLY, subject)
        yield f"{prefix}daily_rollups", _of_planes(DAILY, subject)


def _of_recent(subject: _Subject) -> str:
    def cell(name: str, _wide: bool) -> str:
        width = next(metric.width for metric in EVERY_SAMPLE if metric.name == name)
        return f'gpufleet_int{width}(b."{name}", i * m + g)'

    columns = _columns(subject, "gpufleet_int8(b.times, i)", "gpufleet_int4(b.durations, i)", (), cell, None)
    return f"""SELECT (b.first - 1) / {HOUR} * {HOUR} AS span, {columns}
    FROM {subject.table} JOIN nodes USING (node_id) JOIN recent b USING (node_id){subject.join}
    CROSS JOIN LATERAL (SELECT length(b.slots) / 2 AS m, length(b.times) / 8 AS n OFFSET 0) size
    CROSS JOIN LATERAL generate_series(0, m - 1) g CROSS JOIN LATERAL generate_series(0, n - 1) i
    WHERE gpufleet_int2(b.slots, g) = {subject.table}.slot"""


def _of_planes(tier: Tier, subject: _Subject) -> str:
    extra = USES if tier.step is not None else ()

    def cell(name: str, wide: bool) -> str:
        return f'gpufleet_plane{8 if wide else 4}(b."{name}", g, i, b.m, b.n)'

    columns = _columns(subject, "gpufleet_plane8(b.times, 0, i, 1, b.n)", cell("durations", False), extra, cell, tier)
    # Put together with nothing, a column is unpacked once a row: get_byte would unpack it again for every byte.
    packed = ", ".join(f's."{name}" || \'\' AS "{name}"' for name in _packed(subject, extra))
    return f"""SELECT s.span, {columns}
    FROM {subject.table} JOIN nodes USING (node_id) JOIN {tier.name} s USING (node_id){subject.join}
    CROSS JOIN LATERAL (SELECT s.points AS n, length(s.slots) / 2 AS m, {packed} OFFSET 0) b
    CROSS JOIN LATERAL generate_series(0, b.m - 1) g CROSS JOIN LATERAL generate_series(0, b.n - 1) i
    WHERE gpufleet_int2(s.slots, g) = {subject.table}.slot AND {cell("durations", False)} > 0"""


def _packed(subject: _Subject, extra: tuple[str, ...]) -> list[str]:
    return ["times", "durations", *extra, *(metric.name for metric in subject.metrics)]


def _columns(
    subject: _Subject, times: str, duration: str, extra: tuple[str, ...], cell: _Cell, tier: Tier | None
) -> str:
    wide = {metric.name: tier is not None and tier.wide(metric) for metric in subject.metrics}
    metrics = (_metric(metric, cell(metric.name, wide[metric.name])) for metric in subject.metrics)
    uses = (f'{cell(name, False)} / 1000.0::float8 AS "{name}"' for name in extra)
    head = (
        f"to_timestamp({times} / 1e6) AS ts",
        *subject.names,
        f"{duration} / 1000.0::float8 AS duration",
    )
    return ", ".join((*head, *uses, *metrics))


def _metric(metric: Metric, stored: str) -> str:
    step = metric.step
    known = f"gpufleet_above({stored}, {metric.lowest + RESERVED - 1})"
    if step.denominator == 1:
        return f'{known} * {step.numerator} AS "{metric.name}"'
    return f'{known} * {step.numerator}::float8 / {step.denominator} AS "{metric.name}"'
