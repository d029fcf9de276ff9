"""The server's page for Prometheus."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpufleet_server import exposition
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from gpufleet_server.store.upkeep import Upkeep
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.server.fixtures import embedded_store, fleet, new_sqlite
from tests.server.fleet import NOW, SECOND, Fleet

__all__ = ["embedded_store", "fleet", "new_sqlite"]


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse(error.body(), error.status, error.all_headers())


def serving(scrape: Callable[[Request], Response]) -> TestClient:
    """A server with nothing but the page."""
    return TestClient(Starlette(routes=[Route("/metrics", scrape)], exception_handlers={Problem: _problem}))


@pytest.fixture
def statistics() -> Statistics:
    """What the ingest counts."""
    return Statistics()


@pytest.fixture
def client(store: Store, statistics: Statistics) -> Iterator[TestClient]:
    """Scrapes a page that needs no token."""
    cache = tokens.TokenCache(store, lambda: NOW)
    with serving(exposition.endpoint(store, cache, statistics, now=lambda: NOW, public=True)) as asking:
        yield asking


def page(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every value of the page by name and label values, in the order of the labels' names."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def some_fleet(fleet: Fleet) -> None:
    """Two models, one simulated node, one silent node, a lost GPU."""
    here = fleet.node("here")
    silent = fleet.node("silent", last_seen=NOW - 3600 * SECOND)
    fake = fleet.node("fake", simulated=True, driver_state="hung")
    for number, power in enumerate((1000, 2005, None)):
        gpu = fleet.gpu(here, f"GPU-{number}", model="H100", memory_total=1 << 30)
        fleet.sample(gpu, power=power, gpu_utilization=number * 1000, fb_used=1 << number)
    fleet.sample(fleet.gpu(here, "GPU-lost", model="H100", lost=True), power=9999)
    fleet.sample(fleet.gpu(silent, "GPU-silent", model='A "100"'), power=9999)
    fleet.gpu(fake, "GPU-fake")


def test_totals_are_over_reporting_gpus(client: TestClient, fleet: Fleet) -> None:
    """Silent, lost and valueless GPUs are counted by state and add nothing to sums and means."""
    some_fleet(fleet)
    found = page(client)
    assert found["gpufleet_gpus", ("H100", "false", "reporting")] == 3
    assert found["gpufleet_gpus", ("H100", "false", "lost")] == 1
    assert found["gpufleet_gpus", ("unknown", "true", "driver_failed")] == 1
    assert found["gpufleet_nodes", ("false", "not_reporting")] == 1
    assert found["gpufleet_fleet_power_watts", ("H100", "false")] == pytest.approx(300.5)
    assert found["gpufleet_fleet_reporting_gpus", ("power_watts", "H100", "false")] == 2
    assert found["gpufleet_fleet_gpu_utilization_ratio", ("H100", "false")] == pytest.approx(0.1)
    assert found["gpufleet_fleet_memory_used_bytes", ("H100", "false")] == 7 * 1024
    assert found["gpufleet_fleet_memory_total_bytes", ("H100", "false")] == 3 << 30


def test_what_nobody_reports_is_absent(client: TestClient, fleet: Fleet) -> None:
    """A model that only silent nodes hold has no power, not 0 W."""
    some_fleet(fleet)
    assert {labels for name, labels in page(client) if name == "gpufleet_fleet_power_watts"} == {("H100", "false")}


def test_ingest_and_server_are_counted(client: TestClient, statistics: Statistics) -> None:
    """What the ingest has done, the store's size and the process are there."""
    statistics.reports["stored"] = 7
    statistics.samples, statistics.queued_reports, statistics.commit_seconds = 50, 3, 0.25
    found = page(client)
    assert found["gpufleet_ingest_reports_total", ("stored",)] == 7
    assert found["gpufleet_ingest_samples_total", ()] == 50
    assert found["gpufleet_ingest_queued_reports", ()] == 3
    assert found["gpufleet_ingest_commit_seconds_total", ()] == 0.25
    assert found["gpufleet_store_size_bytes", ()] > 4096
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert found["gpufleet_store_up", ()] == 1
    assert found["gpufleet_scrape_duration_seconds", ()] > 0


def test_two_pages_share_nothing(store: Store) -> None:
    """No registry is global: a process may hold several servers."""
    cache = tokens.TokenCache(store, lambda: NOW)
    first, second = (
        serving(exposition.endpoint(store, cache, Statistics(enrolments=n), now=lambda: NOW, public=True))
        for n in (1, 2)
    )
    assert [page(one)["gpufleet_ingest_enrolments_total", ()] for one in (first, second)] == [1, 2]


def test_a_store_that_does_not_answer_is_told(tmp_path: Path, statistics: Statistics) -> None:
    """The ingest's figures are still there, and the fleet's are absent rather than 0."""
    broken = Store.open(f"sqlite:///{tmp_path}/empty.db")
    cache = tokens.TokenCache(broken, lambda: NOW)
    found = page(serving(exposition.endpoint(broken, cache, statistics, now=lambda: NOW, public=True)))
    broken.close()
    assert found["gpufleet_store_up", ()] == 0
    assert ("gpufleet_ingest_samples_total", ()) in found
    assert not any(name == "gpufleet_gpus" for name, _ in found)


@pytest.mark.parametrize(("kind", "status"), [(None, 401), (TokenKind.JOIN, 403), (TokenKind.READER, 200)])
def test_a_reader_token_is_needed(store: Store, kind: TokenKind | None, status: int) -> None:
    """Unless it was made public the page is for readers."""
    cache = tokens.TokenCache(store, lambda: NOW)
    client = serving(exposition.endpoint(store, cache, Statistics(), now=lambda: NOW))
    headers = {}
    if kind is not None:
        with store.writing() as connection:
            headers["authorization"] = f"Bearer {tokens.create(connection, kind, 'a', now=NOW)[1]}"
    assert client.get("/metrics", headers=headers).status_code == status


def test_openmetrics_for_who_asks(client: TestClient) -> None:
    """The format is the scraper's choice."""
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing(client: TestClient, fleet: Fleet, statistics: Statistics) -> None:
    """The page is clean by Prometheus' own rules."""
    some_fleet(fleet)
    statistics.reports["stored"] = statistics.unknown_metrics['odd"\n'] = 1
    text = client.get("/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_upkeep_tells_what_it_did(store: Store, fleet: Fleet) -> None:
    """Runs, failures and lag of the work beside reports; before the first pass no lag is claimed."""
    upkeep = Upkeep(store, now=lambda: NOW)
    cache = tokens.TokenCache(store, lambda: NOW)
    scrape = exposition.endpoint(store, cache, Statistics(), now=lambda: NOW, public=True, upkeep=upkeep.statistics)
    with serving(scrape) as client:
        before = page(client)
        assert before["gpufleet_upkeep_elected", ()] == 0
        assert ("gpufleet_upkeep_overdue_seconds", ()) not in before
        fleet.sample(fleet.gpu(fleet.node("alpha"), "GPU-1"), NOW - 7200 * SECOND, power=1)
        upkeep.start()
        deadline = time.monotonic() + 60
        while (now := page(client)).get(("gpufleet_upkeep_overdue_seconds", ())) != 0:
            assert time.monotonic() < deadline
        upkeep.stop()
    assert now["gpufleet_upkeep_sealed_samples_total", ()] == 1
    assert now["gpufleet_upkeep_runs_total", ("seal",)] >= 1
    assert now["gpufleet_upkeep_failures_total", ("seal",)] == 0
    assert now["gpufleet_upkeep_last_success_timestamp_seconds", ("seal",)] == NOW / 1e6
