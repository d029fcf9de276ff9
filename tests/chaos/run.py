"""`make chaos`: kills and cuts at random, then compares what agents made with what the store holds."""

import argparse
import asyncio
import collections
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from gpufleet_server.store.engine import Store

from tests.chaos import truth
from tests.chaos.stage import Stage

_DRAIN_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, and what became of it. A sample whose values differ is lost and foreign."""

    kills: dict[str, int]
    reports: int
    samples: int
    events: int
    lost: int
    doubled: int
    foreign: int
    rolled_up: bool
    sealed: int

    @property
    def good(self) -> bool:
        """Whether everything is there, once, and nothing else."""
        return not (self.lost or self.doubled or self.foreign) and self.rolled_up


async def chaos(folder: Path, kills: int, seed: int, *, gpus: int, backlog: float) -> Outcome:
    """Kill and cut `kills` times under the load of a fleet; a tenth of it begins with a backlog of so many seconds."""
    stage = Stage(folder, random.Random(seed), gpus=gpus, backlog=backlog)
    acts = (stage.kill_server, stage.kill_database, stage.kill_agent, stage.cut_agents, stage.cut_database)
    done: collections.Counter[str] = collections.Counter()
    async with stage.play() as agents:
        running = asyncio.create_task(agents.run())
        await asyncio.sleep(3)
        for number in range(kills):
            act = acts[number % len(acts)] if number < len(acts) else stage.chance.choice(acts)
            await asyncio.sleep(stage.chance.uniform(0.1, 1.2))
            await act()
            done[act.__name__] += 1
            if (number + 1) % 20 == 0:
                print(f"{number + 1} of {kills}: {agents.tally().waiting} reports wait", file=sys.stderr, flush=True)
        await asyncio.sleep(2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await stage.drain(agents, _DRAIN_S)
        await stage.end_agent()
        return await asyncio.to_thread(_compare, stage, dict(done))


def _compare(stage: Stage, kills: dict[str, int]) -> Outcome:
    made, told = stage.truth.samples(), stage.truth.events()
    store = Store.open(stage.database)
    try:
        there, known = truth.samples_stored(store), truth.events_stored(store)
        observed, sealed = truth.observed_stored(store), truth.sealed_rows(store)
    finally:
        store.close()
    wanted = collections.Counter((*key, digest) for key, digest in made.items())
    lost, more = (wanted - there) + (told - known), (there - wanted) + (known - told)
    doubled = sum(count for key, count in more.items() if key in wanted or key in told)
    return Outcome(
        kills=kills,
        reports=len(stage.truth.reports),
        samples=len(made),
        events=told.total(),
        lost=lost.total(),
        doubled=doubled,
        foreign=more.total() - doubled,
        rolled_up=observed == stage.truth.observed(),
        sealed=sealed,
    )


def main() -> None:
    """Print what was done and found; the last line is JSON. Exit 1 where anything is lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=400)
    parser.add_argument("--backlog", type=float, default=4500.0, help="seconds that a tenth of the agents has missed")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="gpufleet-chaos-") as folder:
        Path(folder).chmod(0o755)
        began = time.monotonic()
        outcome = asyncio.run(chaos(Path(folder), given.kills, given.seed, gpus=given.gpus, backlog=given.backlog))
    for name, value in dataclasses.asdict(outcome).items():
        print(f"{name:10} {value}")
    print(f"{'seconds':10} {time.monotonic() - began:.0f}")
    kills = sum(outcome.kills.values())
    last = {"kills": kills, "samples": outcome.samples, "lost": outcome.lost, "doubled": outcome.doubled}
    print(json.dumps({"bench": "chaos"} | last))
    sys.exit(not outcome.good)


if __name__ == "__main__":
    main()
