"""A real Prometheus that scrapes one target, and its HTTP API."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.stack import wait_for
from tests.ports import free_port

SCRAPE_SECONDS = 1


@dataclass(frozen=True)
class Prometheus:
    """Where it answers, and whom it scrapes."""

    url: str
    target: str

    def get(self, path: str, **parameters: Any) -> Any:
        """The data of an API call that must succeed."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def label_values(self, metric: str, label: str) -> list[str]:
        """As Grafana fills a variable with `label_values(metric, label)`."""
        return sorted({series[label] for series in self.get("series", **{"match[]": metric}) if label in series})

    def now(self, query: str) -> list[tuple[dict[str, str], float]]:
        """What an instant query gives: labels and value."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=query)["result"]]

    def soon(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The same, once there is something: after a scrape that failed there is nothing for a moment."""
        return wait_for(query, lambda: self.now(query))

    def over(self, query: str, seconds: float, step: float = 1) -> list[tuple[dict[str, str], list[float]]]:
        """What a range query of the newest seconds gives: labels and values."""
        end = time.time()
        found = self.get("query_range", query=query, start=end - seconds, end=end, step=step)["result"]
        return [(one["metric"], [float(value) for _, value in one["values"]]) for one in found]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the target every second while the block runs; its rules are none."""
    folder.mkdir()
    jobs = [{"job_name": "dcgm", "static_configs": [{"targets": [target]}]}]
    times = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"}
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps({"global": times, "scrape_configs": jobs}))
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        it = Prometheus(f"http://127.0.0.1:{port}", target)
        wait_for("Prometheus", lambda: _is_ready(it.url))
        yield it
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
