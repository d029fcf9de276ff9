"""An agent killed with -9 again and again loses nothing it has read, and doubles nothing."""

import random
import signal
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from gpufleet_agent.runtime.frames import Happened, Ticked, read_records
from gpufleet_agent.wire import Event, Samples, decode, unpack

from tests.e2e.stack import Server, agent, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm

Sample = tuple[str, int]
KILLS = 5


class Spooled:
    """What was ever seen in the agent's spool: samples by GPU and time, XIDs by time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples: set[Sample] = set()
        self.xids: set[int] = set()

    def look(self) -> None:
        """Take down what stands there now; the agent is dead."""
        for path in self.folder.glob("*.report"):
            report = decode(path.read_bytes())
            self._take(report.samples, report.events)
        for path in self.folder.glob("*.journal"):
            for record in read_records(path.read_bytes()):
                if isinstance(record, Ticked):
                    self.samples |= {(gpu, record.at) for gpu in record.gpus}
                if isinstance(record, Happened):
                    self._take([], record.events)

    def _take(self, blocks: list[Samples], events: list[Event]) -> None:
        self.samples |= {(gpu, at) for block in blocks for at in unpack(block.times, 8) for gpu in block.gpus}
        self.xids |= {event.at for event in events if event.kind == "xid"}


def ask(it: Server, query: str) -> list[tuple[object, ...]]:
    """Rows of the store's file."""
    with closing(sqlite3.connect(it.folder / "gpufleet.db")) as connection:
        return connection.execute(query).fetchall()


def sampling(folder: Path, old: set[Path]) -> bool:
    """Whether the agent has a sample in a journal that is not one of these, which another run left."""
    try:
        return any(b"ticked" in path.read_bytes() for path in set(folder.glob("*.journal")) - old)
    except FileNotFoundError:
        return False


def test_every_sample_and_event_is_there_once(tmp_path: Path, fleet_server: Server) -> None:
    """Five kills, with the server down in between: what the spool ever held is in the store, each once."""
    scenario = Scenario([busy(h100_sxm(index), index) for index in range(2)])
    file, token = scenario.write(tmp_path / "s"), fleet_server.token("join")
    spooled, chance = Spooled(tmp_path / "agent" / "spool"), random.Random(5)
    for kill in range(KILLS):
        down = kill % 2 == 1
        if down:
            fleet_server.kill(signal.SIGKILL)
        old = set(spooled.folder.glob("*.journal"))
        with agent(tmp_path, fleet_server.url, token, environment(file), "--interval", "1s") as process:
            wait_for("a sample", partial(sampling, spooled.folder, old))
            scenario.gpus[0].xid(31, scenario.now())
            scenario.write(file)
            time.sleep(0.2 + 2 * chance.random())
            process.kill()
            process.wait(10)
        spooled.look()
        if down:
            fleet_server.start()
    old = set(spooled.folder.glob("*.journal"))
    with agent(tmp_path, fleet_server.url, token, environment(file), "--interval", "1s") as process:
        wait_for("a sample", lambda: sampling(spooled.folder, old) and not [*spooled.folder.glob("*.report")])
        process.terminate()
        assert process.wait(20) == 0
    assert [*spooled.folder.iterdir()] == []
    stored = ask(fleet_server, "SELECT g.uuid, s.ts FROM samples s JOIN gpus g USING (gpu_id)")
    assert len(spooled.samples) > KILLS
    assert spooled.samples <= {(str(gpu), at) for gpu, at in stored}
    xids = [at for (at,) in ask(fleet_server, "SELECT ts FROM events WHERE kind = 'xid'")]
    assert len(xids) == len(set(xids))
    assert spooled.xids
    assert spooled.xids <= set(xids)
