"""A time-series database as a process on loopback with a data folder of its own."""

import abc
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

from tests.bench.processes import cpu_seconds_ever, disk_bytes, pss_mb, tree
from tests.ports import free_port


class Peer(abc.ABC):
    """What VictoriaMetrics and Prometheus have in common."""

    name: ClassVar[str]
    program: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """Start it with empty data below `folder`. FileNotFoundError where the program is not there."""
        if shutil.which(self.program) is None:
            raise FileNotFoundError(f"{self.program} is not in PATH: `make bench-tools`")
        self.folder, self.port = folder, free_port()
        self._spent = 0.0
        self._process = self._start()

    @abc.abstractmethod
    def command(self) -> list[str]:
        """Its command line."""

    @abc.abstractmethod
    def settle(self) -> dict[str, object]:
        """Have it bring its data into the form in which it keeps them; what was seen doing so."""

    def count(self, metric: str, end: float, seconds: int) -> int:
        """How many values of a metric it holds in the `seconds` before `end` (s since the epoch)."""
        query = f"sum(count_over_time({metric}[{seconds}s]))"
        result = self.get("/api/v1/query", query=query, time=f"{end:.3f}", nocache="1")["data"]["result"]
        return int(float(result[0]["value"][1])) if result else 0

    def version(self) -> str:
        """What it says its version is."""
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True)
        # Debian's build of VictoriaMetrics says nothing.
        first = (said.stdout or said.stderr).partition("\n")[0].strip()
        return first or f"{self.program}, of a version it does not say"

    def pids(self) -> list[int]:
        """Its processes."""
        return tree(self._process.pid)

    def cpu_seconds(self) -> float:
        """CPU time since its first start."""
        return self._spent + cpu_seconds_ever(self.pids())

    def rss_mb(self) -> float:
        """Its memory, MB."""
        return pss_mb(self.pids())

    def disk_bytes(self) -> int:
        """Bytes of its data folder."""
        return disk_bytes(self.data)

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    def restart(self) -> None:
        """Shut it down cleanly and start it again."""
        self.stop()
        self._process = self._start()

    def stop(self) -> None:
        """Shut it down."""
        if self._process.poll() is None:
            self._spent += cpu_seconds_ever(self.pids())
            self._process.terminate()
            self._process.wait(120)

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON it answers."""
        return json.loads(self.ask(path, **parameters))

    def ask(self, path: str, method: str = "GET", **parameters: str) -> bytes:
        """What it answers. HTTPError where it refuses."""
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=300) as answer:
            content: bytes = answer.read()
            return content

    def _start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{self.program}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(self.command(), stdout=out, stderr=out, cwd=self.folder)
        deadline = time.monotonic() + 60
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{self.program} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        return process

    def _ready(self) -> bool:
        try:
            self.ask("/-/ready")
        except OSError:
            return False
        return True


class VictoriaMetrics(Peer):
    """VictoriaMetrics, single node."""

    name, program = "victoriametrics", "victoria-metrics"

    def command(self) -> list[str]:
        """As its manual starts it; kept long enough that what is fed is not too old."""
        listen = f"-httpListenAddr=127.0.0.1:{self.port}"
        return [self.program, f"-storageDataPath={self.data}", listen, "-retentionPeriod=2y", "-selfScrapeInterval=0"]

    def settle(self) -> dict[str, object]:
        """Write all to disk and merge its parts into one, as it would do by itself in time."""
        self.ask("/internal/force_flush")
        self.ask("/internal/force_merge")
        index = disk_bytes(self.data / "indexdb")
        self._until_merged()
        return {"index_bytes": index}

    def _until_merged(self) -> None:
        merging = True
        while merging:
            time.sleep(0.5)
            metrics = self.ask("/metrics").decode().splitlines()
            active = [line for line in metrics if line.startswith("vm_active_force_merges")]
            active += [line for line in metrics if line.startswith('vm_active_merges{type="storage')]
            merging = any(float(line.split()[-1]) for line in active)


class Prometheus(Peer):
    """Prometheus, taking remote writes."""

    name, program = "prometheus", "prometheus"

    def command(self) -> list[str]:
        """Nothing is scraped; the rest is as it comes."""
        configuration = self.folder / "prometheus.yml"
        configuration.write_text("scrape_configs: []\n")
        files = [f"--config.file={configuration}", f"--storage.tsdb.path={self.data}"]
        listen = f"--web.listen-address=127.0.0.1:{self.port}"
        return [self.program, *files, listen, "--web.enable-remote-write-receiver", "--web.enable-admin-api"]

    def settle(self) -> dict[str, object]:
        """Restart it cleanly, then have it write its head, which it keeps for 3 h, as a block: a snapshot."""
        self.restart()
        as_it_lay = disk_bytes(self.data)
        compacted = any(self.data.glob("*/meta.json"))
        self.ask("/api/v1/admin/tsdb/snapshot", "POST")
        return {"compacted_by_itself": compacted, "log_and_head_bytes": as_it_lay}

    def disk_bytes(self) -> int:
        """Bytes of the snapshot's blocks."""
        return disk_bytes(self.data / "snapshots")
