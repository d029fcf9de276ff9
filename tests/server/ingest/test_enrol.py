"""A join token becomes a node's credential."""

import time

import anyio
import httpx
import msgspec
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import SECOND, Server, fresh_id, run

NODE = "00000000-0000-4000-8000-00000000000a"


def _enrolment(**fields: object) -> bytes:
    usual = {"version": wire.PROTOCOL, "node": NODE, "hostname": "alpha", "agent_version": "0.1.0"}
    return msgspec.json.encode({**usual, **fields})


async def _answer(server: Server, token: str, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await server.client.post(wire.ENROL_PATH, content=body, headers=headers)


async def _ask(server: Server, token: str, body: bytes) -> wire.Credential:
    answer = await _answer(server, token, body)
    assert answer.status_code == 201, answer.text
    return msgspec.json.decode(answer.content, type=wire.Credential)


def test_a_credential_is_good_for_reports(store: Store) -> None:
    """Enrol, report: the node is known by the name it gave."""

    async def story(server: Server) -> None:
        agent = server.agent()
        credential = await _ask(server, server.token(TokenKind.JOIN), _enrolment())
        assert credential.node == NODE
        agent.credential = credential.credential
        assert (await server.send(agent, agent.report())).status_code == 200
        assert server.rows("SELECT hostname FROM nodes")[0][0] == "alpha"
        assert server.statistics.enrolments == 1

    run(store, story)


def test_a_new_credential_ends_the_one_before(store: Store) -> None:
    """A node has one credential; that of another node stays."""

    async def story(server: Server) -> None:
        old, other = server.agent(), server.agent(node=fresh_id())
        assert (await server.send(old, old.report())).status_code == 200
        await _ask(server, server.token(TokenKind.JOIN), _enrolment())
        given = asked = time.monotonic()
        while (await server.send(old, old.report(seq=1))).status_code != 401:
            assert asked < given + 2
            await anyio.sleep(0.05)
            asked = time.monotonic()
        assert (await server.send(other, other.report())).status_code == 200

    run(store, story)


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
        (_enrolment(hostname="a\0b"), 422, "hostname"),
        (_enrolment(node=f"{NODE}\n"), 422, "node"),
        (_enrolment().replace(b"alpha", b"\\ud800"), 400, "body"),
        (b'{"version": NaN}', 400, "body"),
    ],
    ids=["empty", "no-text", "deep", "large", "version", "node", "type", "long", "nul", "line", "surrogate", "nan"],
)
def test_a_wrong_enrolment_is_refused_by_name(store: Store, body: bytes, status: int, field: str) -> None:
    """A problem names what is wrong, and no credential is made."""

    async def story(server: Server) -> None:
        answer = await _answer(server, server.token(TokenKind.JOIN), body)
        assert (answer.status_code, answer.json()["field"]) == (status, field)
        assert server.rows("SELECT count(*) FROM tokens WHERE kind = 'node'")[0][0] == 0

    run(store, story)


def test_only_a_good_join_token_enrols(store: Store) -> None:
    """Neither a reader's, nor a node's, nor an admin's, nor one that has expired."""

    async def story(server: Server) -> None:
        with server.store.writing() as connection:
            _, join = tokens.create(connection, TokenKind.JOIN, "for a second", server.time() + SECOND)
        others = (
            server.token(TokenKind.READER),
            server.token(TokenKind.ADMIN),
            server.agent(node=fresh_id()).credential,
        )
        for token, status in ((join, 201), *((other, 403) for other in others), ("x", 401)):
            assert (await _answer(server, token, _enrolment())).status_code == status
        server.time.at += SECOND
        expired = await _answer(server, join, _enrolment())
        assert (expired.status_code, expired.json()["field"]) == (401, "authorization")

    run(store, story)
