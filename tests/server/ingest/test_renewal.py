"""A node's credential becomes its next one: no gap, nobody else's, and the one before ends."""

import time

import anyio
import httpx
import msgspec
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import DAY, Agent, Server, Time, fresh_id, run, serving


async def answer(server: Server, token: str, node: str) -> httpx.Response:
    """What the server says to who asks for a renewal."""
    body = {"version": wire.PROTOCOL, "node": node, "hostname": "alpha", "agent_version": "0.1.0"}
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await server.client.post(wire.RENEW_PATH, content=msgspec.json.encode(body), headers=headers)


async def renewed(server: Server, agent: Agent) -> str:
    """The next credential of a node."""
    given = await answer(server, agent.credential, agent.node)
    assert given.status_code == 201, given.text
    return msgspec.json.decode(given.content, type=wire.Credential).credential


async def status(server: Server, agent: Agent, credential: str) -> int:
    """How the next report fares with this credential."""
    agent.credential = credential
    return (await server.send(agent, agent.report())).status_code


def live(server: Server) -> int:
    """How many credentials of nodes are good."""
    count: int = server.rows("SELECT count(*) FROM tokens WHERE kind = 'node' AND revoked_at IS NULL")[0][0]
    return count


def test_the_old_one_is_good_until_the_new_one_is_used(store: Store) -> None:
    """Whatever becomes of the answer, the agent has one that is taken; the first use of the new ends the old."""

    async def story(server: Server) -> None:
        agent, other = server.agent(), server.agent(node=fresh_id())
        old = agent.credential
        new = await renewed(server, agent)
        assert [await status(server, agent, old) for _ in range(2)] == [200, 200]
        assert await status(server, agent, new) == 200
        assert await status(server, agent, old) == 401
        assert await status(server, agent, new) == 200
        assert await status(server, other, other.credential) == 200
        assert (live(server), server.statistics.renewals, server.statistics.enrolments) == (2, 1, 0)

    run(store, story)


def test_answers_that_were_lost_leave_nothing_behind(store: Store) -> None:
    """Asked three times, used the last: the others end with the first."""

    async def story(server: Server) -> None:
        agent = server.agent()
        old = agent.credential
        lost = [await renewed(server, agent) for _ in range(2)]
        last = await renewed(server, agent)
        assert await status(server, agent, last) == 200
        assert live(server) == 1
        for credential in (old, *lost):
            assert await status(server, agent, credential) == 401

    run(store, story)


def test_it_ends_on_other_servers_too(store: Store) -> None:
    """The old one is in another server's memory; within two seconds that knows."""

    async def story(server: Server) -> None:
        async with serving(store, server.time) as second:
            agent = server.agent()
            old = agent.credential
            assert await status(second, agent, old) == 200
            assert await status(server, agent, await renewed(server, agent)) == 200
            given = asked = time.monotonic()
            while await status(second, agent, old) != 401:
                assert asked < given + 2
                await anyio.sleep(0.05)
                asked = time.monotonic()

    run(store, story)


def test_a_credential_speaks_for_its_own_node_only(store: Store) -> None:
    """It can neither report nor be renewed for another."""

    async def story(server: Server) -> None:
        mine, other = server.agent(), server.agent(node=fresh_id())
        refused = await answer(server, mine.credential, other.node)
        assert (refused.status_code, refused.json()["field"]) == (403, "node")
        other.credential = mine.credential
        refused = await server.send(other, other.report())
        assert (refused.status_code, refused.json()["field"]) == (403, "node")
        assert server.counts()["samples"] == 0
        assert live(server) == 2

    run(store, story)


def test_only_a_good_credential_is_renewed(store: Store) -> None:
    """No other kind of token, and none that was revoked."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for kind in (TokenKind.JOIN, TokenKind.READER, TokenKind.ADMIN):
            assert (await answer(server, server.token(kind), agent.node)).status_code == 403
        with store.writing() as connection:
            for row in tokens.listing(connection):
                tokens.revoke(connection, row.id)
        assert (await answer(server, agent.credential, agent.node)).status_code == 401
        assert live(server) == 0

    run(store, story)


@pytest.mark.parametrize(("renew_after", "asked"), [(0, False), (30 * DAY, True)])
def test_agents_with_old_credentials_are_asked(store: Store, renew_after: int, asked: bool) -> None:
    """By the acknowledgement, from the day on that the server's setting says."""

    async def story(server: Server) -> None:
        agent = server.agent()

        async def told() -> bool:
            ack = await server.send(agent, agent.report())
            return msgspec.json.decode(ack.content, type=wire.Ack).renew

        assert not await told()
        server.time.at += 31 * DAY
        assert await told() is asked
        agent.credential = await renewed(server, agent)
        assert not await told()

    run(store, story, Time(), renew_after=renew_after)
