"""Rules for Grafana: the file is what its provisioning takes, and the SQL in it finds what is wrong, on PostgreSQL."""

import json
import re
import secrets
import time
from typing import Any

import pytest
import yaml
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.export import grafana
from gpufleet_server.alerts.export.text import text
from gpufleet_server.alerts.overrides import Overrides, parse, usual
from gpufleet_server.store.engine import Store
from sqlalchemy import String, literal, literal_column, select
from sqlalchemy import text as statement

from tests.server.fleet import Fleet


@pytest.fixture(scope="module")
def overrides() -> Overrides:
    """All rules as they are."""
    return usual(every_rule())


def rules(overrides: Overrides) -> list[dict[str, Any]]:
    """The rules of the file, read as Grafana does."""
    (group,) = yaml.safe_load(text(grafana.document(overrides)))["groups"]
    return list(group["rules"])


def found(store: Store, query: str) -> list[dict[str, Any]]:
    """What the query gives, asked as Grafana's plugin does: as it stands."""
    with store.reading() as connection:
        rows = connection.connection.cursor()
        rows.execute(query)
        names = [column[0] for column in rows.description]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def test_the_file_is_what_provisioning_takes(overrides: Overrides) -> None:
    """One group; each rule has a uid of its own that is short enough, three steps, and the last one decides."""
    document = yaml.safe_load(text(grafana.document(overrides, "other", "Other")))
    assert (document["apiVersion"], document["groups"][0]["folder"]) == (1, "Other")
    each_uid = [rule["uid"] for rule in document["groups"][0]["rules"]]
    assert len(set(each_uid)) == len(each_uid)
    for rule in document["groups"][0]["rules"]:
        assert re.fullmatch("[a-zA-Z0-9_-]{1,40}", rule["uid"])
        assert [step["refId"] for step in rule["data"]] == ["A", "B", "C"]
        assert rule["data"][0]["datasourceUid"] == "other"
        assert rule["data"][0]["model"]["format"] == "time_series"
        assert (rule["condition"], rule["noDataState"], rule["execErrState"]) == ("C", "OK", "Error")
        # Grafana puts variables of its environment and macros in place of these.
        assert "$" not in rule["data"][0]["model"]["rawSql"]
        assert "${" not in json.dumps(rule["annotations"])


def test_every_query_runs(postgresql: Store, overrides: Overrides) -> None:
    """With a time, a number, and otherwise texts alone: what is text becomes a label."""
    for rule in rules(overrides):
        query = rule["data"][0]["model"]["rawSql"]
        with postgresql.reading() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(query)
            types = {column[0]: column[1] for column in cursor.description}
        assert next(iter(types)) == "time", rule["title"]
        numbers = [name for name, kind in types.items() if kind in (20, 21, 23, 700, 701, 1700)]
        assert numbers == ["firing"], rule["title"]
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            assert label in types, rule["title"]


def test_a_lost_gpu_is_found(postgresql: Store, overrides: Overrides) -> None:
    """As a series of its labels; another GPU is none, nor is this one once it is back."""
    now = time.time_ns() // 1000
    fleet = Fleet(postgresql)
    node = fleet.node("alpha", site="ams1", last_seen=now)
    fleet.gpu(node, "GPU-1", position=0, lost=True, model="NVIDIA H100")
    fleet.gpu(node, "GPU-2", position=1)
    query = grafana.queries(overrides)["gpu_lost"]
    (series,) = found(postgresql, query)
    assert (series["hostname"], series["index"], series["gpu"], series["firing"]) == ("alpha", "0", "GPU-1", 1)
    assert series["rack"] == ""
    with postgresql.writing() as connection:
        connection.execute(statement("UPDATE gpus SET lost = false"))
    assert found(postgresql, query) == []


def test_thresholds_of_a_site_are_in_the_query() -> None:
    """They are part of the select."""
    where = [{"site": "fra1", "thresholds": {"margin": 8}}]
    said = parse({"rules": {"hot_against_limits": {"where": where}}}, every_rule())
    query = grafana.queries(said)["hot_against_limits"]
    assert "fra1" in query
    assert "8.0" in query


def test_a_site_that_is_called_like_a_macro(postgresql: Store) -> None:
    """Grafana looks for macros in texts too: there is no dollar sign in the query, and the site is the same."""
    site = "a$__timeFrom()b"
    said = parse(
        {"rules": {"hot_against_limits": {"where": [{"site": site, "thresholds": {"margin": 8}}]}}}, every_rule()
    )
    query = grafana.queries(said)["hot_against_limits"]
    assert "$" not in query and found(postgresql, query) == []
    literal = re.search(r"'a'.*?b'", query)
    assert literal is not None
    assert found(postgresql, f"SELECT {literal[0]} AS site") == [{"site": site}]


def test_a_text_with_a_dollar_sign_stays_one_operand(postgresql: Store, overrides: Overrides) -> None:
    """Also beside what binds it more tightly than `=` does, such as a place in JSON."""
    told = literal_column("""'{"a": "other", "a$__b": "this", "it''s a$": "too"}'::json""", String())
    found_there = {"site": told.op("->>")(literal("a$__b")), "rack": told.op("->>")(literal("it's a$"))}
    query = grafana.sql(overrides.rules["gpu_lost"], select(*(part.label(name) for name, part in found_there.items())))
    (series,) = found(postgresql, query)
    assert "$" not in query
    assert (series["site"], series["rack"]) == ("this", "too")


def test_uids_are_short_enough() -> None:
    """And differ where their beginnings do not."""
    one, other = grafana.uid("a" * 62), grafana.uid("a" * 61 + "b")
    assert (len(one), one == other) == (40, False)


def test_the_tables_to_let_grafana_into(postgresql: Store, overrides: Overrides) -> None:
    """A role that may read those that are named, and nothing else, can ask every query."""
    tables, role = grafana.tables(overrides), f"grafana_{secrets.token_hex(4)}"
    assert "rule_runs" not in tables
    with postgresql.writing() as connection:
        connection.execute(statement(f"CREATE ROLE {role}"))
        connection.execute(statement(f"GRANT SELECT ON {', '.join(tables)} TO {role}"))
        connection.execute(statement(f"SET LOCAL ROLE {role}"))
        for query in grafana.queries(overrides).values():
            connection.connection.cursor().execute(query)
        connection.execute(statement("RESET ROLE"))
        # A role is the whole server's: it would outlive the database.
        connection.rollback()
