"""The engine: events at once, several servers, rules that fail, too much at once, and what keeps alerts quiet."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from gpufleet_server.alerts import book, listing, silences
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.alerts.overrides import parse, usual
from gpufleet_server.alerts.rule import Rule, Scope
from gpufleet_server.domain.server_name import server_host
from gpufleet_server.store.alerts import alert_log, alerts, rule_runs, servers
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from sqlalchemy import select, update

from tests.server.fleet import NOW, SECOND, Fleet

_RULES = every_rule()


def _engine(store: Store, *names: str, **given: object) -> Engine:
    return Engine(store, parse(given, {name: _RULES[name] for name in names}), lambda: NOW)


def _rows(store: Store, query: Any) -> list[Any]:
    with store.reading() as connection:
        return [tuple(row) for row in connection.execute(query)]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; it has 60 s."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def _alerts(store: Store, *states: str) -> list[str]:
    """Subjects, in their order."""
    with store.reading() as connection:
        query = select(alerts.c.subject).where(alerts.c.state.in_(states or ("firing",)))
        return sorted(connection.execute(query).scalars())


def _changes(store: Store) -> list[str]:
    with store.reading() as connection:
        return list(connection.execute(select(alert_log.c.change).order_by(alert_log.c.log_id)).scalars())


def _lose(store: Store, *gpu_ids: int, lost: bool = True) -> None:
    with store.writing() as connection:
        connection.execute(update(gpus).where(gpus.c.gpu_id.in_(gpu_ids)).values(lost=lost))


def _heard(store: Store, at: int) -> None:
    with store.writing() as connection:
        connection.execute(update(nodes).values(last_seen=at))


def _lost_gpus(fleet: Fleet, count: int, of: int = 8) -> list[int]:
    made = [fleet.gpu(fleet.node(f"n{n}"), f"GPU-{n}", lost=n < count) for n in range(of)]
    return made[:count]


def test_events_are_evaluated_for_their_nodes_at_once(store: Store, fleet: Fleet) -> None:
    """The other node waits for the next round."""
    one, other = _lost_gpus(fleet, 2)
    engine = _engine(store, "gpu_lost")
    engine.happened([("gpu_lost", 1), ("node_added", 2)])
    assert engine.take_events() == 2
    assert _alerts(store) == [f"gpu:{one}"]
    assert engine.take_events() == 0
    engine.round(NOW + SECOND)
    assert _alerts(store) == [f"gpu:{one}", f"gpu:{other}"]


def test_two_servers_make_one_alert(store: Store, fleet: Fleet) -> None:
    """Both evaluate the same at once; each change is made and told once."""
    lost = _lost_gpus(fleet, 3)
    engines = [_engine(store, "gpu_lost") for _ in range(3)]
    for at, state in ((NOW, True), (NOW + 15 * SECOND, False)):
        _lose(store, *lost, lost=state)
        _heard(store, at)
        threads = [threading.Thread(target=engine.round, args=(at,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(_alerts(store, "resolved")) == 3
    assert sorted(_changes(store)) == ["fired"] * 3 + ["resolved"] * 3


def test_who_is_late_changes_nothing(store: Store, fleet: Fleet) -> None:
    """A server that looked before another one resolved an alert does not bring it back."""
    (gpu_id,) = _lost_gpus(fleet, 1)
    engine = _engine(store, "gpu_lost")
    engine.round(NOW)
    with store.reading() as connection:
        seen = list(book.open_alerts(connection).values())
    _lose(store, gpu_id, lost=False)
    engine.round(NOW + 15 * SECOND)
    ended = book.Next("gpu_lost", "gpu", seen[0], dataclasses.replace(seen[0].life, last_true=NOW + 1), None)
    with store.writing() as connection:
        assert book.write(connection, [ended], NOW + 16 * SECOND) == 0
    assert _alerts(store, "resolved") == [f"gpu:{gpu_id}"]


def test_a_rule_that_fails_stops_no_other(store: Store, fleet: Fleet) -> None:
    """Its alerts stay as they are; how often it failed is kept, and after three times alarmed."""
    (gpu_id,) = _lost_gpus(fleet, 1)

    def broken(_sight: object) -> object:
        raise RuntimeError("no such thing")

    engine = _engine(store, "gpu_lost", "remap_pending")
    engine.round(NOW)
    rules: dict[str, Rule] = {name: _RULES[name] for name in ("driver_unresponsive", "rule_failing")}
    rules["gpu_lost"] = dataclasses.replace(_RULES["gpu_lost"], condition=broken)  # type: ignore[arg-type]
    failing = Engine(store, usual(rules), lambda: NOW)
    fleet.node("bad", driver_state="failed", last_seen=NOW + 60 * SECOND)
    _lose(store, gpu_id, lost=False)
    for n in range(1, 5):
        failing.round(NOW + n * 15 * SECOND)
    assert _alerts(store) == ["fleet:gpu_lost", f"gpu:{gpu_id}", "node:9"]
    with store.reading() as connection:
        row = connection.execute(select(rule_runs).where(rule_runs.c.rule == "gpu_lost")).one()
    assert (row.failures, row.error, row.succeeded_at) == (4, "RuntimeError: no such thing", NOW)


def test_a_rule_that_is_off_ends_its_alerts(store: Store, fleet: Fleet) -> None:
    """Turned off, or gone with an upgrade: nothing would end them otherwise."""
    _lost_gpus(fleet, 2)
    _engine(store, "gpu_lost").round(NOW)
    _engine(store, "gpu_lost", rules={"gpu_lost": {"enabled": False}}).round(NOW + SECOND)
    assert _alerts(store) == []
    _engine(store, "gpu_lost").round(NOW + 2 * SECOND)
    _engine(store, "remap_pending").round(NOW + 3 * SECOND)
    assert _alerts(store) == []


def test_too_much_at_once_is_one_alert_for_events_too(store: Store, fleet: Fleet) -> None:
    """What comes as events stops at the share as well; what fired before goes on and ends."""
    made = _lost_gpus(fleet, 0, of=40) or [n + 1 for n in range(40)]
    engine = _engine(store, "gpu_lost", "circuit_breaker", breaker={"share": 25, "least": 5})
    _lose(store, *made[:3])
    engine.happened([("gpu_lost", 1)])
    engine.take_events()
    engine.round(NOW)
    assert len(_alerts(store)) == 3
    _lose(store, *made)
    engine.happened([("gpu_lost", node_id) for node_id in range(1, 41)])
    engine.take_events()
    assert len(_alerts(store)) == 3
    for n in (1, 2):
        engine.round(NOW + n * 15 * SECOND)
    assert _alerts(store) == ["fleet:gpu_lost", "gpu:1", "gpu:2", "gpu:3"]
    _lose(store, *made[2:], lost=False)
    for n in range(3, 12):
        _heard(store, NOW + n * 15 * SECOND)
        engine.round(NOW + n * 15 * SECOND)
    assert _alerts(store) == ["gpu:1", "gpu:2"]


def test_after_an_outage_of_the_servers_nodes_have_time_to_be_heard(store: Store, fleet: Fleet) -> None:
    """A server that starts after ten minutes does not take the silence for the nodes'."""
    _lost_gpus(fleet, 0, of=3)
    engine = _engine(store, "node_not_reporting", rules={"node_not_reporting": {"wait": 0}})
    engine.round(NOW)
    back = NOW + 600 * SECOND
    again = _engine(store, "node_not_reporting", rules={"node_not_reporting": {"wait": 0}})
    again.round(back)
    assert _alerts(store) == []
    again.round(back + 31 * SECOND)
    assert _alerts(store) == ["node:1", "node:2", "node:3"]


def test_silences_hold_and_let_go(store: Store, fleet: Fleet) -> None:
    """Nobody is to be told of a silenced alert; when the silence is over it is told, and its history has all."""
    (gpu_id,) = _lost_gpus(fleet, 1)
    with store.writing() as connection:
        until = NOW + 60 * SECOND
        made = silences.create(connection, "silence", {"hostname": "n*"}, NOW, until, by="me", why="why", now=NOW)
    engine = _engine(store, "gpu_lost")
    engine.round(NOW)
    with store.reading() as connection:
        (alert,) = book.open_alerts(connection).values()
    assert (alert.held_by, alert.told_at) == (made.name, None)
    engine.round(NOW + 61 * SECOND)
    _heard(store, NOW + 61 * SECOND)
    with store.reading() as connection:
        (alert,) = book.open_alerts(connection).values()
        told = [entry.change for entry in listing.history(connection, alert.alert_id)]
    assert (alert.held_by, alert.told_at, told) == (None, NOW + 61 * SECOND, ["fired", "held", "released"])
    assert alert.gpu_id == gpu_id


def test_a_rack_whose_nodes_are_all_in_maintenance_is_told_to_nobody(store: Store, fleet: Fleet) -> None:
    """Nor when they come back; but once it is another node too that has gone silent with them."""
    for name in ("n0", "n1", "n2"):
        fleet.node(name, site="s1", rack="r1")
    with store.writing() as connection:
        for name, until in (("n0", 900), ("n1", 900), ("n2", 240)):
            ends = NOW + until * SECOND
            given = {"hostname": name}
            silences.create(connection, "maintenance", given, NOW, ends, by="me", why="driver", now=NOW)
    engine = _engine(store, "rack_not_reporting", "node_not_reporting")

    def rack(*times: int) -> str | None:
        for at in times:
            engine.round(NOW + at * SECOND)
        with store.reading() as connection:
            opened = book.open_alerts(connection).values()
        return next((each.held_by or "told" for each in opened if each.scope == "rack"), None)

    assert rack(0, 45, 60, 75, 90) == "maintenance 1"
    _heard(store, NOW + 105 * SECOND)
    assert rack(105, 120) == "maintenance 1"
    assert rack(135, 180, 195, 210, 225) == "maintenance 1"
    assert rack(240) == "told"


def test_what_owners_call_their_nodes_is_in_the_labels(store: Store, fleet: Fleet) -> None:
    """So that receivers can be told by team, and silences mean a part of the fleet."""
    node = fleet.node("n", facts={"labels": {"team": "ml", "cost-center": "7"}})
    fleet.gpu(node, "GPU-1", lost=True)
    _engine(store, "gpu_lost").round(NOW)
    with store.reading() as connection:
        (alert,) = book.open_alerts(connection).values()
    assert {"label_team": "ml", "label_cost_center": "7", "hostname": "n"}.items() <= alert.labels.items()


def test_a_silence_of_everything_is_refused(store: Store) -> None:
    """It would hide the next outage."""
    for matchers in ({}, {"hostname": "*"}):
        with store.writing() as connection, pytest.raises(ValueError, match="everything"):
            silences.create(connection, "silence", matchers, NOW, NOW + SECOND, by="me", why="", now=NOW)


def test_what_is_not_known_ends_nothing(store: Store, fleet: Fleet) -> None:
    """Of a node that went silent, or is in maintenance, the alert stays; of a GPU that was taken out it ends."""
    (gpu_id,) = _lost_gpus(fleet, 1)
    engine = _engine(store, "gpu_lost")
    engine.round(NOW)
    _lose(store, gpu_id, lost=False)
    engine.round(NOW + 600 * SECOND)
    assert _alerts(store) == [f"gpu:{gpu_id}"]
    with store.writing() as connection:
        connection.execute(update(nodes).values(last_seen=NOW + 615 * SECOND, driver_state="paused"))
    engine.round(NOW + 615 * SECOND)
    assert _alerts(store) == [f"gpu:{gpu_id}"]
    with store.writing() as connection:
        connection.execute(update(nodes).values(last_seen=NOW + 630 * SECOND, driver_state="ok"))
        connection.execute(update(gpus).values(removed_at=NOW, lost=True))
    engine.round(NOW + 630 * SECOND)
    assert _alerts(store) == []


def test_rules_looked_at_seldom_do_not_all_begin_at_once(store: Store) -> None:
    """Their first turns lie within minutes; those looked at often begin with the first round."""
    rules = {f"r{n}": dataclasses.replace(_RULES["gpu_lost"], name=f"r{n}", every=3600) for n in range(12)}
    rules["gpu_lost"] = _RULES["gpu_lost"]
    engine = Engine(store, usual(rules), lambda: NOW, spread=True)
    ran = []
    for n in range(17):
        engine.round(NOW + n * 15 * SECOND)
        ran.append(_rows(store, select(rule_runs.c.rule)))
    assert ("gpu_lost",) in ran[0]
    assert len(ran[0]) < 6
    assert len(ran[-1]) == 13


def test_the_threads_evaluate_and_end(store: Store, fleet: Fleet) -> None:
    """A round at the start, events as they come; stopped, both end."""
    _lost_gpus(fleet, 1)
    changed = threading.Event()
    engine = Engine(store, usual({"gpu_lost": _RULES["gpu_lost"]}), lambda: NOW, changed=changed.set)
    engine.start()
    assert changed.wait(60)
    assert engine.trouble is None
    changed.clear()
    _lose(store, 2)
    engine.happened([("gpu_lost", 2)])
    assert changed.wait(60)
    engine.stop()
    assert _alerts(store) == ["gpu:1", "gpu:2"]


def test_rules_that_follow_events_are_of_nodes_or_gpus() -> None:
    """They are evaluated for a few nodes only, which would tell a rack or a fleet nothing."""
    assert all(rule.scope in (Scope.GPU, Scope.NODE, Scope.PARTITION) for rule in _RULES.values() if rule.on_events)
    names = set(_RULES)
    assert all(set(rule.held_by) <= names for rule in _RULES.values())


def test_a_server_tells_of_itself_while_it_is_there(store: Store) -> None:
    """Elected or not; one that ends as it should leaves nothing to wonder about."""
    engine = Engine(store, usual({}), lambda: NOW, facts=lambda: {"disk_free": 12.5, "waited": None})
    told = select(servers.c.facts, servers.c.seen_at)
    engine.start()
    wait_until(lambda: bool(_rows(store, told)))
    assert _rows(store, told) == [({"host": server_host(), "disk_free": 12.5}, NOW)]
    engine.stop()
    assert _rows(store, told) == []
