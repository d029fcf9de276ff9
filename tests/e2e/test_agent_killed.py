"""An agent killed with -9 again and again loses nothing it has read, and doubles nothing."""

import random
import signal
import time
from functools import partial
from pathlib import Path

from gpufleet_agent.runtime.frames import Happened, Ticked
from gpufleet_agent.runtime.journal import read_records
from gpufleet_agent.wire import Event, Samples, decode, unpack
from gpufleet_server.store.schema import events
from sqlalchemy import select

from tests.e2e.stack import Server, agent, opened, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm
from tests.server import stored

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

    def _take(self, blocks: list[Samples], happened: list[Event]) -> None:
        self.samples |= {(gpu, at) for block in blocks for at in unpack(block.times, 8) for gpu in block.gpus}
        self.xids |= {event.at for event in happened if event.kind == "xid"}


def sampling(folder: Path, old: set[Path]) -> bool:
    """Whether the agent has a sample in a journal that is not one of these, which another run left."""
    try:
        return any(b"ticked" in path.read_bytes() for path in set(folder.glob("*.journal")) - old)
    except FileNotFoundError:
        return False


def test_every_sample_and_event_is_there_once(tmp_path: Path, any_server: Server) -> None:
    """Five kills, with the server down in between: what the spool ever held is in the store, each once."""
    scenario = Scenario([busy(h100_sxm(index), index) for index in range(2)])
    file, token = scenario.write(tmp_path / "s"), any_server.token("join")
    spooled, chance = Spooled(tmp_path / "agent" / "spool"), random.Random(5)
    for kill in range(KILLS):
        down = kill % 2 == 1
        if down:
            any_server.kill(signal.SIGKILL)
        old = set(spooled.folder.glob("*.journal"))
        with agent(tmp_path, any_server.url, token, environment(file), "--interval", "1s") as process:
            wait_for("a sample", partial(sampling, spooled.folder, old))
            scenario.gpus[0].xid(31, scenario.now())
            scenario.write(file)
            time.sleep(0.2 + 2 * chance.random())
            process.kill()
            process.wait(60)
        spooled.look()
        if down:
            any_server.start()
    old = set(spooled.folder.glob("*.journal"))
    with agent(tmp_path, any_server.url, token, environment(file), "--interval", "1s") as process:
        wait_for("a sample", lambda: sampling(spooled.folder, old) and not [*spooled.folder.glob("*.report")])
        process.terminate()
        assert process.wait(60) == 0
    assert [*spooled.folder.iterdir()] == []
    with opened(any_server.database) as store:
        found = {(sample.gpu, sample.ts) for sample in stored.every(store)}
        with store.reading() as connection:
            xids = list(connection.execute(select(events.c.ts).where(events.c.kind == "xid")).scalars())
    assert len(spooled.samples) > KILLS
    assert spooled.samples <= found
    assert len(xids) == len(set(xids))
    assert spooled.xids
    assert spooled.xids <= set(xids)
