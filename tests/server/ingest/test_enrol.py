"""A join token becomes a node's credential."""

import time
from pathlib import Path

import anyio
import msgspec
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.tokens import TokenKind

from tests.server.ingest.agents import DAY, Server, fresh_id, run

NODE = "00000000-0000-4000-8000-00000000000a"


def _enrolment(**fields: object) -> bytes:
    usual = {"version": wire.PROTOCOL, "node": NODE, "hostname": "alpha", "agent_version": "0.1.0"}
    return msgspec.json.encode({**usual, **fields})


async def _ask(server: Server, token: str, body: bytes, content_type: str = "application/json") -> wire.Credential:
    headers = {"authorization": f"Bearer {token}", "content-type": content_type}
    answer = await server.client.post(wire.ENROL_PATH, content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return msgspec.json.decode(answer.content, type=wire.Credential)


def test_a_credential_is_good_for_reports(tmp_path: Path) -> None:
    """Enrol, report: the node is known by the name it gave."""

    async def story(server: Server) -> None:
        agent = server.agent()
        credential = await _ask(server, server.token(TokenKind.JOIN), _enrolment())
        assert credential.node == NODE
        agent.credential = credential.credential
        assert (await server.send(agent, agent.report())).status_code == 200
        assert server.rows("SELECT hostname FROM nodes")[0][0] == "alpha"
        assert server.statistics.enrolments == 1

    run(tmp_path, story)


def test_a_new_credential_ends_the_one_before(tmp_path: Path) -> None:
    """A node has one credential; that of another node stays."""

    async def story(server: Server) -> None:
        old, other = server.agent(), server.agent(node=fresh_id())
        assert (await server.send(old, old.report())).status_code == 200
        await _ask(server, server.token(TokenKind.JOIN), _enrolment())
        deadline = time.monotonic() + 2
        while (await server.send(old, old.report(seq=1))).status_code != 401:
            assert time.monotonic() < deadline
            await anyio.sleep(0.05)
        assert (await server.send(other, other.report())).status_code == 200

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 5000, 422, "body"),
        (b"x" * 20_000, 413, "body"),
        (_enrolment(version=2), 400, "version"),
        (_enrolment(node="alpha"), 422, "node"),
        (_enrolment(hostname=7), 422, "hostname"),
        (_enrolment(hostname="x" * 300), 422, "hostname"),
    ],
    ids=["empty", "no-text", "deep", "large", "version", "node", "type", "long"],
)
def test_a_wrong_enrolment_is_refused_by_name(tmp_path: Path, body: bytes, status: int, field: str) -> None:
    """A problem names what is wrong, and no credential is made."""

    async def story(server: Server) -> None:
        headers = {"authorization": f"Bearer {server.token(TokenKind.JOIN)}", "content-type": "application/json"}
        answer = await server.client.post(wire.ENROL_PATH, content=body, headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (status, field)
        assert server.rows("SELECT count(*) FROM tokens WHERE kind = 'node'")[0][0] == 0

    run(tmp_path, story)


def test_only_a_good_join_token_enrols(tmp_path: Path) -> None:
    """Neither a reader's, nor a node's, nor one that has expired."""

    async def story(server: Server) -> None:
        join = server.token(TokenKind.JOIN)
        for token, status in ((server.token(TokenKind.READER), 403), (server.agent().credential, 403), ("x", 401)):
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            answer = await server.client.post(wire.ENROL_PATH, content=_enrolment(), headers=headers)
            assert answer.status_code == status
        await _ask(server, join, _enrolment())
        with server.store.writing() as connection:
            connection.exec_driver_sql(f"UPDATE tokens SET expires_at = {server.time() - DAY} WHERE kind = 'join'")
        headers = {"authorization": f"Bearer {server.token(TokenKind.ADMIN)}", "content-type": "application/json"}
        assert (await server.client.post(wire.ENROL_PATH, content=_enrolment(), headers=headers)).status_code == 403

    run(tmp_path, story)
