"""What was told once: states, events and alerts, held against what was put in."""

from typing import Any

from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.xids import catalogue
from gpufleet_server.store.alerts import alert_log
from gpufleet_server.store.alerts import alerts as fired
from gpufleet_server.store.engine import Store
from gpufleet_server.store.grafana.views import alert_changes, alerts, events, states, xids
from gpufleet_server.store.schema import OF_HEALTH
from sqlalchemy import insert, text

from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.store.grafana.filled import HOSTS, Filled, at


def test_states(filled: Filled) -> None:
    """Each value in its unit from when it held, why one was absent, and what was before it."""
    told: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    before: dict[tuple[str, str], int | None] = {}
    for state in sorted(filled.states, key=lambda state: state.at):
        metric, key = BY_NAME[state.metric], (state.gpu, state.metric)
        reason = metric.reason(state.stored)
        stored = state.stored if reason is None else None
        word = None if reason is None else reason.word
        if (stored, word) == (before.get(key), None):
            continue  # What did not change is not kept.
        told[*key, state.at] = (at(state.at), metric.value(state.stored), word, stored, before.get(key))
        before[key] = stored if stored is not None else before.get(key)
    names = ("ts", "value", "reason", "stored", "stored_before")
    named = " OR ".join(f"metric = '{name}'" for name in sorted({state.metric for state in filled.states}))
    rows = filled.rows(states.VIEW, "gpu", "metric", "at", *names, where=named)
    assert {(row["gpu"], row["metric"], row["at"]): tuple(row[name] for name in names) for row in rows} == told
    assert Reason.FAILED.word in {row["reason"] for row in rows}


def test_errors_of_the_fleet_are_found_by_an_index(filled: Filled) -> None:
    """Metrics of health that are not 0, by time."""
    assert set(OF_HEALTH) <= BY_NAME.keys()
    view = states.VIEW
    query = (
        f"EXPLAIN SELECT {view['at']} FROM {view} WHERE {view['metric']} IN ('ecc_dram_uncorrected', 'remap_failed') "
        f"AND {view['stored']} > 0 AND {view['at']} BETWEEN {NOW - 3600 * SECOND} AND {NOW}"
    )
    with filled.store.reading() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.execute(text(query)).scalars())
    assert "ix_states_of_health" in plan, plan


def test_events(filled: Filled) -> None:
    """Where and what each was; of an XID its name, its class and how grave it is, of others none."""
    hosts = {uuid: (agent, host) for agent, host in zip(filled.agents, HOSTS, strict=True) for uuid in agent.gpus}
    told = set()
    for event in filled.events:
        agent, host = hosts[event.gpu or ""]
        xid = catalogue().get(event.code or 0) if event.kind == "xid" else None
        of_xid = (None,) * 3 if xid is None else (xid.meaning or xid.mnemonic, xid.action.value, xid.severity.value)
        place = (host["hostname"], agent.node, host.get("site", "(none)"), event.gpu)
        told.add((event.at, at(event.at), event.kind, event.code, *of_xid, event.source, event.message, *place))
    names = "at ts kind code xid_name xid_class xid_severity source message node node_uuid site gpu"
    rows = filled.rows(events.VIEW, *names.split(), where="kind IN ('xid', 'sxid')")
    assert {tuple(row.values()) for row in rows} == told
    assert {row["xid_class"] for row in rows} == {"reboot_node", "restart_app", None}
    roster = filled.rows(events.VIEW, "node", "gpu", "position", "model", where="kind = 'node_added'", order="node")
    assert [tuple(row.values()) for row in roster] == [(host["hostname"], None, None, "(none)") for host in HOSTS]


def test_xids(filled: Filled) -> None:
    """The whole catalogue."""
    told = {
        (each.code, each.meaning or each.mnemonic, each.action.value, each.severity.value)
        for each in catalogue().xids.values()
    }
    assert {tuple(row.values()) for row in filled.rows(xids.VIEW)} == told


def test_alerts(postgresql: Store) -> None:
    """Those that fired, of a GPU, a node or a whole site; and what became of them."""
    fleet = Fleet(postgresql)
    node = fleet.node("n1", site="east", rack="r1")
    gpu = fleet.gpu(node, "GPU-a", model="H100", position=3)
    of_gpu = {"node_id": node, "gpu_id": gpu, "site": "east", "rack": "r1", "value": 91.5}
    rows = [
        _alert("hot", NOW, **of_gpu, state="firing", acknowledged_at=NOW, acknowledged_by="ann"),
        _alert("silent", NOW - SECOND, site="west", state="resolved", resolved_at=NOW, held_by="silence 3"),
        _alert("pending", None, state="pending"),
    ]
    with postgresql.writing() as connection:
        for row in rows:
            connection.execute(insert(fired).values(row))
        connection.execute(insert(alert_log).values(alert_id=1, at=NOW, change="acknowledged", by="ann", text="on it"))
    filled = Filled(postgresql, (), (), ())
    names = "rule severity state site rack node gpu position model text value fired_at fired resolved_at resolved"
    shown = [tuple(row.values()) for row in filled.rows(alerts.VIEW, *names.split(), order="alert_id")]
    before = at(NOW - SECOND), NOW - SECOND, at(NOW), NOW
    assert shown == [
        ("hot", "warning", "firing", "east", "r1", "n1", "GPU-a", 3, "H100", "it is", 91.5, at(NOW), NOW, None, None),
        ("silent", "warning", "resolved", "west", "(none)", "(none)", None, None, "(none)", "it is", None, *before),
    ]
    more = filled.rows(alerts.VIEW, "since", "acknowledged_at", "acknowledged_by", "held_by", order="alert_id")
    assert [tuple(row.values()) for row in more] == [
        (at(NOW - 60 * SECOND), at(NOW), "ann", None), (at(NOW - 61 * SECOND), None, None, "silence 3"),
    ]  # fmt: skip
    (change,) = filled.rows(alert_changes.VIEW, "at", "ts", "change", "by", "text", "rule", "node")
    assert tuple(change.values()) == (NOW, at(NOW), "acknowledged", "ann", "on it", "hot", "n1")


def _alert(rule: str, fired_at: int | None, **fields: object) -> dict[str, object]:
    since = (fired_at or NOW) - 60 * SECOND
    row = {"rule": rule, "subject": rule, "scope": "gpu", "severity": "warning", "labels": {}, "text": "it is"}
    return row | {"since": since, "last_true": NOW, "fired_at": fired_at, "version": 1} | fields
