"""The view `server_minutes`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import Double, cast, literal_column

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, view
from gpufleet_server.store.server_minutes import server_minutes

_C = server_minutes.c
_OVERDUE = cast(_C.sealing_overdue, Double) / literal_column("1000000::float8")
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
    ("queued_reports", "Reports that waited to be written at its end.", "queued_reports"),
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


def _fields() -> Iterator[Field]:
    yield from fields.at(_C.at, "The beginning of the minute")
    yield fields.text("server", "Its host and process.", _C.server)
    covered = (
        "How long it is that the row tells of: less than a minute where it began in it, more where it was held up."
    )
    yield Column("covered", "double precision", covered, SECOND), fields.seconds(_C.covered)
    for name, help, column in _COUNTS:
        yield Column(name, "bigint", help, Unit.COUNT), _C[column]
    for name, help, column in _SECONDS:
        yield Column(name, "double precision", help, SECOND), _C[column]
    yield Column("body_bytes", "bigint", "Bytes of reports received, compressed.", Unit.BYTE), _C.body_bytes
    yield Column("queued_bytes", "bigint", "Memory of the reports that waited at its end.", Unit.BYTE), _C.queued_bytes
    yield Column("memory_used", "bigint", "Memory of the process; NULL where it is not known.", Unit.BYTE), _C.memory
    yield Column("elected", "boolean", "Whether this server did the upkeep at its end."), _C.elected
    overdue = "By how much sealing was behind; NULL where another server does it."
    yield Column("sealing_overdue", "double precision", overdue, SECOND), _OVERDUE


VIEW = view(
    "server_minutes",
    "What a server did in a minute. Kept as long as minutes of the fleet are.",
    _fields(),
    server_minutes,
)
