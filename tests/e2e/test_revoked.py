"""A credential that is revoked ends on every server, in their memory and on connections that are kept alive."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain import clock

from tests.e2e.stack import BIN, Server, opened, server
from tests.server import stored
from tests.server.ingest.agents import Agent, Time, fresh_id

# What operating.md promises.
WITHIN_SECONDS = 2.0


@pytest.fixture(params=["sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    """The servers of one fleet: two processes on a PostgreSQL, one on a file."""
    postgresql = request.getfixturevalue("postgres_database") if request.param == "postgresql" else None
    with ExitStack() as stack:
        folders = [tmp_path / name for name in (("one", "two") if postgresql else ("one",))]
        for folder in folders:
            folder.mkdir()
        yield [stack.enter_context(server(folder, postgresql)) for folder in folders]


class Reporting:
    """An agent that reports to all servers in turn, each by one connection."""

    def __init__(self, servers: list[Server], join: str) -> None:
        self.agent = Agent(Time(clock.now()), node=fresh_id(), stream=fresh_id(), gpus=("GPU-a",))
        self.clients = [httpx.Client(base_url=each.url) for each in servers]
        enrolment = wire.Enrolment(node=self.agent.node, version=wire.PROTOCOL, hostname="alpha", agent_version="1")
        headers = {"authorization": f"Bearer {join}", "content-type": "application/json"}
        given = self.clients[0].post(wire.ENROL_PATH, content=msgspec.json.encode(enrolment), headers=headers)
        self.agent.credential = given.json()["credential"]
        self.acknowledged = 0

    def report(self) -> list[int]:
        """How each server answers a report of its own."""
        return [self._report(client) for client in self.clients]

    def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            client.close()

    def _report(self, client: httpx.Client) -> int:
        agent = self.agent
        agent.time.at = clock.now()
        headers = {
            "authorization": f"Bearer {agent.credential}",
            "content-type": wire.CONTENT_TYPE,
            "content-encoding": wire.ENCODING,
            wire.CLOCK_HEADER: wire.clock_header(agent.clock()),
        }
        answer = client.post(wire.REPORT_PATH, content=wire.encode(agent.report()), headers=headers)
        self.acknowledged += answer.status_code == 200
        return answer.status_code


def credential_id(of: Server, node: str) -> int:
    """The number by which it can be revoked."""
    with opened(of.database) as store, store.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT token_id FROM tokens WHERE node = '{node}'")
        return int(found.scalar_one())


def test_a_revoked_credential_ends_on_every_server(servers: list[Server]) -> None:
    """Within two seconds of `gpufleet token revoke` nobody takes it any more; other nodes notice nothing."""
    join = servers[0].token("join")
    revoked, other = Reporting(servers, join), Reporting(servers, join)
    good, none = [200] * len(servers), [401] * len(servers)
    for _ in range(5):
        assert revoked.report() == other.report() == good
    number = credential_id(servers[0], revoked.agent.node)
    command = [str(BIN / "gpufleet"), "token", "revoke", str(number), "--database", servers[0].database]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as revoking:
        while revoking.poll() is None:
            # In use all the while, so that it is in memory and its connections are open.
            revoked.report()
            assert other.report() == good
    assert revoking.returncode == 0
    done = asked = time.monotonic()
    while (answers := revoked.report()) != none:
        # However long the answer took: when it was asked counts.
        assert asked < done + WITHIN_SECONDS, answers
        assert other.report() == good
        asked = time.monotonic()
    taken = revoked.acknowledged
    while time.monotonic() < done + WITHIN_SECONDS + 1:
        assert revoked.report() == none
        assert other.report() == good
    assert revoked.acknowledged == taken
    with opened(servers[0].database) as store:
        assert len(stored.samples(store, revoked.agent.node)) == taken
        assert len(stored.samples(store, other.agent.node)) == other.acknowledged
    for each in (revoked, other):
        each.close()
