"""The running agent: from the processes on a GPU to the usage in its reports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gpufleet_agent.wire import Holder, Report, Usage

from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.process import until
from tests.agent.usage.test_live import JOB, SLURM, needs_own_namespace, running
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, a100_mig, error, h100_mig, h100_sxm

pytestmark = needs_own_namespace
_IDLE = {"util.gpu": 0, "util.encoder": 0, "util.decoder": 0, "gpm.sm_util": 0.0}


@pytest.fixture
def ingest() -> Iterator[IngestEnd]:
    """A server that takes everything."""
    with serving(IngestEnd()) as end:
        yield end


@contextmanager
def agent(driver: Path, folder: Path, end: IngestEnd, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """`gpufleet-agent run` on the simulated driver, a sample a second."""
    command = [sys.executable, "-m", "gpufleet_agent", "run", "--server", end.url, "--token", TOKEN]
    command += ["--state-dir", str(folder / "state"), "--interval", "1s", *flags]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env=environment(driver))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def used(report: Report) -> dict[str, tuple[Holder, Usage]]:
    """Each piece of a report, by partition or GPU, with its holder."""
    return {piece.partition or piece.gpu: (report.holders[piece.holder], piece) for piece in report.usage}


def with_usage(end: IngestEnd) -> list[Report]:
    """The reports that tell of holders."""
    return [report for report in end.reports if report.usage]


def test_the_report_says_who_held_what(tmp_path: Path, ingest: IngestEnd) -> None:
    """A job that runs, one that only holds, what nobody holds, and a list that is not to be had."""
    gpus = [h100_sxm(n) for n in range(4)]
    uuids = [str(gpu.values["uuid"]) for gpu in gpus]
    with running("cgroup2", JOB, **SLURM) as job, running("cgroup2", "jupyter.service") as unit:
        gpus[0].process(job, "train", used=5 << 30, sm=71)
        gpus[1].update(_IDLE).process(unit, "notebook", used=3 << 30, sm=0)
        gpus[2].update(_IDLE | {"fb.used": 7 << 30})
        gpus[3].set("processes", error("no_permission"))
        with agent(Scenario(gpus).write(tmp_path / "s"), tmp_path, ingest):
            until(lambda: with_usage(ingest))
    report = with_usage(ingest)[0]
    found = used(report)
    duration = sum(piece.observed for _, piece in found.values()) // 4
    holder, piece = found[uuids[0]]
    assert (holder.kind, holder.job, holder.step, holder.account, holder.command) == (
        *("slurm", "4711", "0", "physics", "sleep"),
    )
    assert (piece.active, piece.held, piece.memory, piece.activity) == (duration, 0, 5 << 30, 7100)
    holder, piece = found[uuids[1]]
    assert (holder.kind, holder.unit, holder.uid) == ("unit", "jupyter.service", os.getuid())
    assert (piece.active, piece.held, piece.memory_most, piece.processes) == (0, duration, 3 << 30, 1)
    holder, piece = found[uuids[2]]
    assert (holder.kind, piece.held, piece.memory) == ("nobody", duration, 7 << 30)
    holder, piece = found[uuids[3]]
    assert (holder.kind, holder.absent, piece.active) == ("unknown", {"processes": "no permission"}, duration)
    (roster,) = [each.roster for each in ingest.reports if each.roster is not None]
    assert roster.host.attribution == "names"


def test_partitions_have_holders_of_their_own(tmp_path: Path, ingest: IngestEnd) -> None:
    """One process in two partitions is one holder; each partition has its slices' part of the GPU's time."""
    cut = h100_mig(0)
    uuids = [str(instance.values["uuid"]) for instance in cut.instances]
    with running("cgroup2", JOB, **SLURM) as job:
        cut.instances[2].process(job, "infer", gi=5, ci=0, used=2 << 30)
        cut.instances[4].process(job, "infer", gi=13, ci=0, used=3 << 30)
        with agent(Scenario([cut]).write(tmp_path / "s"), tmp_path, ingest):
            until(lambda: with_usage(ingest))
    report = with_usage(ingest)[0]
    (roster,) = [each.roster for each in ingest.reports if each.roster is not None]
    shares = {partition.uuid: partition.share or 0.0 for partition in roster.gpus[0].partitions}
    found = used(report)
    mine = {name: piece for name, (holder, piece) in found.items() if holder.job == "4711"}
    assert len([holder for holder in report.holders if holder.job]) == 1
    assert {name: piece.memory for name, piece in mine.items()} == {uuids[2]: 2 << 30, uuids[4]: 3 << 30}
    for name, piece in mine.items():
        assert abs(piece.active - shares[name] * piece.observed) <= 5
    assert {holder.kind for name, (holder, _) in found.items() if name not in mine} == {"nobody"}
    assert sum(piece.active + piece.held for _, piece in found.values()) <= max(p.observed for p in mine.values())


def test_partitions_of_which_nothing_is_told(tmp_path: Path, ingest: IngestEnd) -> None:
    """An A100 says of its partitions who is there and with how much memory, and not what they do: nobody's time."""
    cut = a100_mig(0)
    with running("cgroup2", JOB, **SLURM) as job:
        cut.instances[2].process(job, "infer", gi=5, ci=0, used=2 << 30)
        with agent(Scenario([cut]).write(tmp_path / "s"), tmp_path, ingest):
            until(lambda: with_usage(ingest))
    ((holder, piece),) = used(with_usage(ingest)[0]).values()
    assert (holder.job, piece.memory, piece.active, piece.held, piece.activity) == ("4711", 2 << 30, 0, 0, None)


def test_a_killed_agent_loses_no_usage(tmp_path: Path) -> None:
    """What stood in the journal is sent by the next one: the job's intervals hold each sample once."""
    end = IngestEnd()
    with serving(end):
        pass  # the port is known; the server is down
    gpu = h100_sxm(0)
    with running("cgroup2", JOB, **SLURM) as job:
        file = Scenario([gpu.process(job, "train", used=5 << 30, sm=71)]).write(tmp_path / "s")
        with agent(file, tmp_path, end) as process:
            until(lambda: _ticks(tmp_path / "state/spool") >= 3)
            process.kill()
            process.wait(60)
        with serving(end), agent(file, tmp_path, end):
            until(lambda: len(with_usage(end)) >= 2)
    pieces = [piece for report in end.reports for piece in report.usage]
    assert sum(piece.observed for piece in pieces) == sum(_durations(report) for report in end.reports)
    assert {report.holders[0].job for report in with_usage(end)} == {"4711"}


def _ticks(spool: Path) -> int:
    """How many samples the open journal holds."""
    try:
        return sum(path.read_bytes().count(b"ticked") for path in spool.glob("*.journal"))
    except FileNotFoundError:
        # It was closed between our two looks.
        return 0


def _durations(report: Report) -> int:
    return sum(
        int.from_bytes(samples.durations[at : at + 4], "little")
        for samples in report.samples
        for at in range(0, len(samples.durations), 4)
    )


@pytest.mark.parametrize(("flag", "told"), [("--usage=off", "off"), ("--user-names=off", "numbers")])
def test_what_is_not_to_be_told_stays_on_the_node(flag: str, told: str, tmp_path: Path, ingest: IngestEnd) -> None:
    """Without usage no report has a holder; without names none has a user's."""
    with running("cgroup2", JOB, **SLURM) as job:
        file = Scenario([h100_sxm(0).process(job, "train")]).write(tmp_path / "s")
        with agent(file, tmp_path, ingest, flag):
            until(lambda: [report for report in ingest.reports if report.samples])
    first = next(report for report in ingest.reports if report.samples)
    rosters = [report.roster for report in ingest.reports if report.roster is not None]
    assert [roster.host.attribution for roster in rosters] == [told]
    assert [(holder.user, holder.uid) for holder in first.holders] == ([] if told == "off" else [(None, os.getuid())])
