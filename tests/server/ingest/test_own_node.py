"""A node's credential writes for its own node, whichever way it is tried, and the others' rows stay as they are."""

from typing import Any

import httpx
import msgspec
import pytest
from gpufleet_agent import wire
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import SECOND, Agent, Server, fresh_id, run

TABLES = ("nodes", "streams", "gpus", "partitions", "states", "events", "latest", "recent", "fleet_minutes", "tokens")


def everything(server: Server) -> dict[str, list[Any]]:
    """All rows that reports, enrolments and renewals write; when a token was used is no matter here."""
    rows = {table: sorted(map(repr, server.rows(f"SELECT * FROM {table}"))) for table in TABLES[:-1]}
    columns = "token_id, kind, name, hash, node, created_at, expires_at, revoked_at"
    return rows | {"tokens": sorted(map(repr, server.rows(f"SELECT {columns} FROM tokens")))}


async def enrolment(server: Server, path: str, credential: str, node: str) -> httpx.Response:
    """What the server says to who asks for a credential of a node."""
    body = msgspec.json.encode(wire.Enrolment(node=node, version=wire.PROTOCOL, hostname="x", agent_version="1"))
    headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
    return await server.client.post(path, content=body, headers=headers)


def joined(agent: Agent, count: int) -> wire.Report:
    """So many reports of an agent as one."""
    reports = []
    for _ in range(count):
        agent.time.at += SECOND
        reports.append(agent.report())
    samples = [block for report in reports for block in report.samples]
    return msgspec.structs.replace(reports[-1], first_seq=reports[0].seq, samples=samples)


def attempts(other: Agent) -> dict[str, wire.Report]:
    """Reports in the name of a node."""
    wall = other.clock().wall
    return {
        "samples": other.report(),
        "a roster": other.report(roster=other.roster(host={"hostname": "taken-over"})),
        "events": other.report(samples=[], events=[wire.Event(at=wall, kind="xid", code=79, gpu="GPU-a")]),
        "joined reports": joined(other, 3),
        "joined reports with what is there": msgspec.structs.replace(joined(other, 3), first_seq=1),
        "another stream": other.report(stream=fresh_id()),
        "nothing": other.report(samples=[]),
    }


def test_no_report_is_taken_for_another_node(store: Store) -> None:
    """Alone or joined, with a roster, events or nothing: 403 that names both nodes, and no row of any table changes."""

    async def story(server: Server) -> None:
        mine, other = server.agent(), server.agent(node=fresh_id(), stream=fresh_id())
        for agent in (mine, other):
            assert (await server.send(agent, agent.report(roster=agent.roster()))).status_code == 200
        before = everything(server)
        own, other.credential = other.credential, mine.credential
        for what, report in attempts(other).items():
            answer = await server.send(other, report)
            assert (answer.status_code, answer.json()["field"]) == (403, "node"), what
            assert answer.json()["detail"] == f"this credential speaks for node {mine.node}, not for {other.node}", what
        assert everything(server) == before
        other.credential = own
        assert (await server.send(other, other.report())).status_code == 200

    run(store, story)


@pytest.mark.parametrize("path", [wire.ENROL_PATH, wire.RENEW_PATH])
def test_no_credential_is_given_for_another_node(store: Store, path: str) -> None:
    """A node's credential enrols nobody, itself neither, and is renewed for its own node only."""

    async def story(server: Server) -> None:
        mine, other = server.agent(), server.agent(node=fresh_id(), stream=fresh_id())
        before = everything(server)
        answer = await enrolment(server, path, mine.credential, other.node)
        assert answer.status_code == 403
        if path == wire.RENEW_PATH:
            assert answer.json()["detail"] == f"this credential speaks for node {mine.node}, not for {other.node}"
        else:
            assert (await enrolment(server, path, mine.credential, mine.node)).status_code == 403
        assert everything(server) == before
        for agent in (mine, other):
            assert (await server.send(agent, agent.report())).status_code == 200

    run(store, story)


def test_what_two_nodes_say_of_one_gpu_stays_apart(store: Store) -> None:
    """A node that lists a GPU which another node has writes to a row of its own; the other's is as it was."""

    async def story(server: Server) -> None:
        mine, other = server.agent(), server.agent(node=fresh_id(), stream=fresh_id())
        assert (await server.send(other, other.report(roster=other.roster()))).status_code == 200
        theirs = "SELECT g.* FROM gpus g JOIN nodes n ON n.node_id = g.node_id WHERE n.uuid = '{}' ORDER BY g.uuid"
        before = server.rows(theirs.format(other.node))
        assert (await server.send(mine, mine.report(roster=mine.roster(model="stolen")))).status_code == 200
        assert server.rows(theirs.format(other.node)) == before
        assert len(before) == len(server.rows(theirs.format(mine.node))) == 2

    run(store, story)
