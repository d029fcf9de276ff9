"""A server that evaluates: an event over HTTP is an alert at once, and /metrics and /readyz know of it."""

import httpx
from gpufleet_agent import wire
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.overrides import usual
from gpufleet_server.alerts.service import Settings
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import Server, run, until

# So seldom that only the event can have been it.
_SETTINGS = Settings(overrides=usual({"xid_reboot_node": every_rule()["xid_reboot_node"]}), interval=600.0)


def test_an_event_is_an_alert_at_once(store: Store) -> None:
    """Committed with its report, evaluated for its node, and counted."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await until(lambda: server.app.state.alerting.engine.statistics.rounds == 1)
        roster = agent.roster()
        xid = wire.Event(at=server.time(), kind="xid", gpu=agent.gpus[0], code=79, source="nvml")
        report = agent.report(roster=roster, roster_digest=wire.digest(roster), events=[xid])
        assert (await server.send(agent, report)).status_code == 200
        await until(lambda: bool(server.rows("SELECT 1 FROM alerts WHERE state = 'firing'")))
        answer = await _page(server, "/metrics")
        assert 'gpufleet_alerts_open{severity="critical",stands="firing"} 1.0' in answer.text
        assert 'gpufleet_alerts_rounds_total{kind="events"} 1.0' in answer.text
        assert (await server.client.get("/readyz")).status_code == 200
        assert server.rows("SELECT count(*) FROM servers") == [(1,)]

    run(store, story, alerts=_SETTINGS)
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM servers").scalar_one() == 0


async def _page(server: Server, path: str) -> httpx.Response:
    token = server.token(TokenKind.READER)
    return await server.client.get(path, headers={"authorization": f"Bearer {token}"})
