"""The view `servers`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import Double, cast, literal_column

from gpufleet_server.store.alerts import servers
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, view


def _fact(name: str, help: str, fact: str, unit: Unit | str) -> Field:
    return Column(name, "double precision", f"{help} NULL where it is not known.", unit), servers.c.facts[
        fact
    ].as_float()


def _fields() -> Iterator[Field]:
    yield fields.text("server", "Its host and process.", servers.c.server)
    yield fields.micros("started_at", "When it started.", servers.c.started_at)
    yield fields.time("started_ts", "The same.", servers.c.started_at)
    yield fields.micros("seen_at", "When it last told how it stands.", servers.c.seen_at)
    yield fields.time("seen_ts", "The same.", servers.c.seen_at)
    age = cast(fields.NOW - servers.c.seen_at, Double) / literal_column("1000000::float8")
    yield Column("seen_age", "double precision", "How long ago that was; more than a minute is too long.", SECOND), age
    yield _fact("queued_reports", "Reports that wait to be written.", "queued_reports", Unit.COUNT)
    yield _fact("waited_mean", "How long reports waited for their commit lately.", "waited", SECOND)
    yield _fact("failed_commits", "Commits that failed lately.", "failed_commits", Unit.COUNT)
    yield _fact("turned_away", "Reports whose agents were lately asked to come again later.", "turned_away", Unit.COUNT)
    yield _fact(
        "sealing_overdue", "By how much sealing is behind, on the server that does it.", "sealing_overdue", SECOND
    )
    yield _fact("partitions_ahead", "For how long there are partitions to write to.", "partitions_ahead", SECOND)
    yield _fact("receivers_failing", "Receivers of alerts that fail.", "receivers_failing", Unit.COUNT)
    yield _fact("receiver_failing", "How long the worst of them has failed.", "receiver_failing", SECOND)
    name = "That receiver's name; NULL where none fails."
    yield fields.text("receiver", name, servers.c.facts["receiver"].as_string())


VIEW = view(
    "servers",
    "A server as it last told how it stands, every few seconds. One that ended as it should is gone, one that was not "
    "seen for a week too.",
    _fields(),
    servers,
)
