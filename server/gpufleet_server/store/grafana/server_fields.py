"""The fields of what servers did, in a minute or in an hour."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import Double, Table, cast, literal_column

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field

_COUNTS = (
    ("reports_stored", "Reports stored.", "stored"),
    ("reports_duplicate", "Reports that were stored already.", "duplicate"),
    ("refused_credentials", "Reports refused for their credentials: 401 and 403.", "refused_credentials"),
    ("refused_content", "Reports refused for what they hold: all other 4xx.", "refused_content"),
    ("turned_away", "Reports whose agents were asked to come again later: 5xx.", "turned_away"),
    ("samples", "Samples stored.", "samples"),
    ("values", "Values of metrics stored.", "values"),
    ("states", "Changed states stored.", "states"),
    ("events", "Events stored.", "events"),
    ("usage_pieces", "Pieces of usage intervals stored.", "usage"),
    ("commits", "Commits of reports.", "commits"),
    ("failed_commits", "Commits that failed.", "failed_commits"),
    ("too_late_samples", "Samples that came after their time to be kept; only their rollup is.", "too_late"),
)
_SECONDS = (
    ("commit_mean", "How long a commit took, on the mean; NULL where there was none.", "commit_mean"),
    ("commit_max", "How long the longest took.", "commit_max"),
    ("waited_mean", "From a report's arrival to the end of its commit, on the mean.", "waited_mean"),
    ("upkeep_seconds", "Time at upkeep, its pauses included.", "upkeep"),
    ("upkeep_cpu_seconds", "CPU that it took of this process; the database's own is not known here.", "upkeep_cpu"),
    ("cpu_seconds", "CPU that the whole process took.", "cpu"),
)


def of_servers(table: Table, begin: str, covered: str, when: str) -> Iterator[Field]:
    """Fields of a table: its `begin` and how much of it is `covered` in words, and `when` a queue was as long."""
    c = table.c
    yield from fields.at(c.at, begin)
    yield fields.text("server", "Its host and process.", c.server)
    yield Column("covered", "double precision", covered, SECOND), fields.seconds(c.covered)
    for name, help, column in _COUNTS:
        yield Column(name, "bigint", help, Unit.COUNT), c[column]
    for name, help, column in _SECONDS:
        yield Column(name, "double precision", help, SECOND), c[column]
    yield Column("body_bytes", "bigint", "Bytes of reports received, compressed.", Unit.BYTE), c.body_bytes
    yield Column("queued_reports", "bigint", f"Reports that waited to be written {when}.", Unit.COUNT), c.queued_reports
    yield Column("queued_bytes", "bigint", f"Memory of the reports that waited {when}.", Unit.BYTE), c.queued_bytes
    yield Column("memory_used", "bigint", "Memory of the process; NULL where it is not known.", Unit.BYTE), c.memory
    overdue = "By how much sealing was behind; NULL where another server does it."
    yield (
        Column("sealing_overdue", "double precision", overdue, SECOND),
        cast(c.sealing_overdue, Double) / literal_column("1000000::float8"),
    )
