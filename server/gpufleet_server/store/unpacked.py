"""SQL that unpacks blocks on PostgreSQL: selects of a row a GPU, or partition, and time, values in their units."""

import dataclasses
from collections.abc import Iterable
from typing import Final

from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric

from gpufleet_server.store.tiers import HOUR, SEALED, USES, Tier

# In the columns of a Subject: when the time that a row is of ended, µs, and how much of it was observed, s.
ENDED: Final = "t.ended"
DURATION: Final = "{duration}"


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Whose rows: the table of slots, how to find the rest, the first columns as SQL, and metrics.

    `table` is joined with `nodes`. The columns may use ENDED and DURATION.
    """

    table: str
    join: str
    columns: tuple[str, ...]
    metrics: tuple[Metric, ...]


def samples(subject: Subject) -> str:
    """All samples, sealed or not: `span`, the subject's columns, metrics."""
    return f"{points(SEALED, subject)} UNION ALL {_recent(subject)}"


def points(tier: Tier, subject: Subject) -> str:
    """What a tier holds: `span`, the subject's columns, how long it was active, held and unknown (s), metrics."""
    uses = USES if tier.step is not None else ()
    wide = {"durations": False, **dict.fromkeys(uses, False)}
    wide |= {metric.name: tier.wide(metric) for metric in subject.metrics}
    duration = _cell("durations", wide=False)
    columns = (
        *_first(subject, duration),
        *(f'{_cell(name, wide=False)} / 1000.0::float8 AS "{name}"' for name in uses),
        *(_metric(metric, _cell(metric.name, wide=wide[metric.name])) for metric in subject.metrics),
    )
    # Put together with nothing, a column is unpacked once a row: get_byte would unpack it again for every byte.
    packed = ", ".join(f's."{name}" || \'\' AS "{name}"' for name in ("times", *wide))
    # What is the same for all times of a GPU is worked out once. What nobody asks for is not worked out at all.
    bases = ", ".join(
        f'gpufleet_int{8 if each else 4}(p."{name}", place.g) AS "base_{name}"' for name, each in wide.items()
    )
    return f"""SELECT s.span, {", ".join(columns)}
    FROM {subject.table} JOIN nodes USING (node_id) JOIN {tier.name} s USING (node_id){subject.join}
    {_place(subject, "s.slots", "length(s.slots) / 2")}
    CROSS JOIN LATERAL (SELECT p.*, p.m * p.n AS size, 4 * p.m + place.g * p.n AS first4,
        8 * p.m + place.g * p.n AS first8, {bases}
        FROM (SELECT s.points AS n, length(s.slots) / 2 AS m, {packed} OFFSET 0) p OFFSET 0) b
    CROSS JOIN LATERAL (SELECT i, gpufleet_cell8(b.times, gpufleet_int8(b.times, 0), 8 + i, b.n) AS ended
        FROM generate_series(0, b.n - 1) i OFFSET 0) t
    WHERE place.g IS NOT NULL AND {duration} > 0"""


def _recent(subject: Subject) -> str:
    columns = (
        *_first(subject, "gpufleet_int4(b.durations, t.i)"),
        *(
            _metric(metric, f'gpufleet_int{metric.width}(b."{metric.name}", t.i * (length(b.slots) / 2) + place.g)')
            for metric in subject.metrics
        ),
    )
    return f"""SELECT (b.first - 1) / {HOUR} * {HOUR} AS span, {", ".join(columns)}
    FROM {subject.table} JOIN nodes USING (node_id) JOIN recent b USING (node_id){subject.join}
    {_place(subject, "b.slots", "length(b.slots) / 2")}
    CROSS JOIN LATERAL (SELECT i, gpufleet_int8(b.times, i) AS ended
        FROM generate_series(0, length(b.times) / 8 - 1) i OFFSET 0) t
    WHERE place.g IS NOT NULL"""


def _place(subject: Subject, slots: str, count: str) -> str:
    # Looked for by GPU: were it a condition of the whole, all GPUs of the fleet would be read to find some of a node.
    # Most nodes have their slots in order.
    slot = f"{subject.table}.slot::integer"
    return f"""CROSS JOIN LATERAL (SELECT CASE WHEN gpufleet_int2({slots}, {slot}) = {slot} THEN {slot} ELSE
        (SELECT g FROM generate_series(0, {count} - 1) g WHERE gpufleet_int2({slots}, g) = {slot} LIMIT 1) END AS g
        OFFSET 0) place"""


def _first(subject: Subject, duration: str) -> Iterable[str]:
    return (column.replace(DURATION, f"{duration} / 1000.0::float8") for column in subject.columns)


def _cell(name: str, *, wide: bool) -> str:
    width = 8 if wide else 4
    return f'gpufleet_cell{width}(b."{name}", b."base_{name}", b.first{width} + t.i, b.size)'


def _metric(metric: Metric, stored: str) -> str:
    step = metric.step
    known = f"gpufleet_above({stored}, {metric.lowest + RESERVED - 1})"
    if step.denominator == 1:
        return f'{known} * {step.numerator} AS "{metric.name}"'
    return f'{known} * {step.numerator}::float8 / {step.denominator} AS "{metric.name}"'


# Partitions have the metrics that a driver tells of a part of a GPU.
OF_PARTITIONS: Final = tuple(metric for metric in EVERY_SAMPLE if metric.of_partitions)
