"""How each sample's time is given to the holders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpufleet_agent.backends.backend import GpuProcess, ProcessList, Tick
from gpufleet_agent.usage.accounts import TOO_MANY, Accounts
from gpufleet_agent.usage.attribution import Attribution, Known
from gpufleet_agent.usage.entries import Place, Used
from gpufleet_agent.usage.holder import Holder as Workload
from gpufleet_agent.wire import Gpu, Partition
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000
GIB = 1 << 30
ACTIVE, HELD, FREE, UNKNOWN = (9000, 1), (0, 1), (0, 0), (-(1 << 15), 1)


class Looked(Attribution):
    """Knows processes by their ids, without a look at any."""

    def __init__(self, processes: dict[int, Known]) -> None:
        self.processes = processes

    def look(self, lists: Sequence[ProcessList]) -> dict[int, Known]:
        """Of all that are listed."""
        return {process.pid: self.processes[process.pid] for found in lists for process in found.processes}


def step(job: str, task: str = "0", **fields: Any) -> Workload:
    """A task of a Slurm job."""
    return Workload(kind="slurm", job=job, step="0", task=task, **fields)


def process(pid: int, sm: float | None = None, memory: int | None = GIB) -> GpuProcess:
    """A process as the driver has it."""
    return GpuProcess(pid, ("compute",), memory, sm, {})


def tick(*uses: tuple[int, int], at: int = 10, partitions: tuple[tuple[int, int], ...] = ()) -> Tick:
    """A sample of 10 s of as many GPUs, and of as many partitions: what ran, and how many processes there were."""
    return Tick(
        at * SECOND,
        10_000,
        tuple(f"GPU-{n}" for n in range(len(uses))),
        _columns(uses),
        tuple(f"MIG-{n}" for n in range(len(partitions))),
        _columns(partitions),
    )


def _columns(uses: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    return {
        "gpu_utilization": [busy for busy, _ in uses],
        "compute_processes": [count for _, count in uses],
        "fb_used": [(2 << 20) * min(count, 1) for _, count in uses],
    }


def account(accounts: Accounts, lists: Sequence[ProcessList], taken: Tick, count: int = 1) -> Used:
    """What is told of a sample of so many GPUs."""
    used = accounts.used(lists, taken, gpus(count))
    assert used is not None
    return used


def gpus(count: int = 1) -> list[Gpu]:
    """GPUs without partitions."""
    return [Gpu(uuid=f"GPU-{n}", vendor="v", index=n) for n in range(count)]


def times(used: Used) -> list[tuple[str | None, int, int]]:
    """Job, active and held time of each entry, by job."""
    found = [(used.holders[entry.holder].job, entry.active, entry.held) for entry in used.entries]
    return sorted(found, key=str)


def on(*processes: GpuProcess, gpu: str = "GPU-0", **fields: str) -> ProcessList:
    """A list of one GPU."""
    return ProcessList(gpu, processes=processes, **fields)


KNOWN = {n: Known(step(str(n // 10), str(n % 10)), command=f"p{n}") for n in range(100)}


def test_time_goes_to_those_that_ran_something() -> None:
    """A step's tasks are one holder; two that ran divide the time, one that did nothing gets none of it."""
    accounts = Accounts(Looked(KNOWN))
    used = account(accounts, [on(process(11, 60), process(12, 70), process(21, 5), process(31, 0.5))], tick(ACTIVE))
    assert times(used) == [("1", 5000, 0), ("2", 5000, 0), ("3", 0, 0)]
    first = used.entries[0]
    assert (first.memory, first.activity, first.processes) == (2 << 20, 10_000, 2)


def test_where_nobody_is_seen_to_run_all_share_it() -> None:
    """What the driver does not tell is not held against anybody; what is only held is divided evenly as well."""
    for shares in ((None, None, None), (0.0, 0.5, 0.0)):
        accounts = Accounts(Looked(KNOWN))
        lists = [on(*(process(pid, share) for pid, share in zip((11, 21, 31), shares, strict=True)))]
        assert times(account(accounts, lists, tick(ACTIVE))) == [("1", 3333, 0), ("2", 3333, 0), ("3", 3334, 0)]
        held = account(accounts, lists, tick(HELD, at=20))
        assert [(entry.active, entry.held) for entry in held.entries] == [(0, 3333), (0, 3333), (0, 3334)]


def test_a_free_gpu_costs_nobody_anything() -> None:
    """A display manager is seen; so is who is there while nothing tells what the GPU does."""
    for use in (FREE, UNKNOWN):
        (entry,) = account(Accounts(Looked(KNOWN)), [on(process(11, 60))], tick(use)).entries
        assert (entry.observed, entry.active, entry.held, entry.memory) == (10_000, 0, 0, 1 << 20)


def test_what_is_held_by_no_process_is_nobodys() -> None:
    """With as much memory as the GPU has in use; a free GPU is not even nobody's."""
    used = account(Accounts(Looked({})), [on(), on(gpu="GPU-1")], tick(HELD, FREE), 2)
    (entry,) = used.entries
    assert [holder.kind for holder in used.holders.values()] == ["nobody"]
    assert used.places[entry.place] == ("GPU-0", None)
    assert (entry.held, entry.memory, entry.processes) == (10_000, 2 << 20, 0)


def test_compute_instances_that_share_activity_are_not_nobodys() -> None:
    """What one of them does the driver tells of its GPU instance: of the other that is no sign of anybody."""
    shared = [Partition(uuid=f"MIG-{n}", gpu_instance=1, share=0.25) for n in (0, 1)]
    cut = Gpu(
        uuid="GPU-0", vendor="v", index=0, partitions=[*shared, Partition(uuid="MIG-2", gpu_instance=2, share=0.5)]
    )
    lists = [on(process(11), partition="MIG-0"), on(partition="MIG-1"), on(partition="MIG-2")]
    used = Accounts(Looked(KNOWN)).used(lists, tick(UNKNOWN, partitions=(ACTIVE, ACTIVE, ACTIVE)), [cut])
    assert used is not None
    found = {used.places[entry.place][1]: (used.holders[entry.holder].kind, entry.active) for entry in used.entries}
    assert found == {"MIG-0": ("slurm", 2500), "MIG-2": ("nobody", 5000)}


def test_a_list_that_cannot_be_read_is_unknowns() -> None:
    """With the reason; not where the GPU is free, or lost."""
    lists = [on(gpu=f"GPU-{n}", reason=reason) for n, reason in enumerate(("no permission", "failed", "lost"))]
    used = account(Accounts(Looked({})), lists, tick(ACTIVE, FREE, UNKNOWN), 3)
    (entry,) = used.entries
    (holder,) = used.holders.values()
    assert (holder.kind, holder.absent, entry.active) == ("unknown", {"processes": "no permission"}, 10_000)


def test_a_new_holder_is_there_since_its_process_began() -> None:
    """And gets no more of the time than that; what was there in the sample before goes on."""
    known = {1: Known(step("1"), started=17 * SECOND), 2: Known(step("1"), started=3 * SECOND)}
    accounts = Accounts(Looked(known))
    assert account(accounts, [on()], tick(FREE)).entries == []
    new = account(accounts, [on(process(1))], tick(ACTIVE, at=20))
    assert (new.begin, new.entries[0].observed, new.entries[0].active) == (10 * SECOND, 3000, 3000)
    on_it_goes = account(accounts, [on(process(1))], tick(ACTIVE, at=30))
    assert (on_it_goes.begin, on_it_goes.entries[0].observed) == (20 * SECOND, 10_000)
    older = account(Accounts(Looked(known)), [on(process(1), process(2))], tick(ACTIVE))
    assert older.entries[0].observed == 7000


def test_samples_apart_begin_anew() -> None:
    """After a clock that was set, or a reader that hung, nobody is said to have been there meanwhile."""
    known = {1: Known(step("1"), started=98 * SECOND)}
    accounts = Accounts(Looked(known))
    account(accounts, [on(process(1))], tick(ACTIVE))
    later = account(accounts, [on(process(1))], tick(ACTIVE, at=100))
    assert (later.begin, later.entries[0].observed) == (90 * SECOND, 2000)
    before = account(accounts, [on(process(1))], tick(ACTIVE, at=50))
    assert (before.begin, before.entries[0].observed) == (40 * SECOND, 0)


def test_a_holder_is_described_once() -> None:
    """Again only when something about it changed, or when it comes back; numbers do not depend on who else is there."""
    accounts = Accounts(Looked(known := {11: KNOWN[11], 12: KNOWN[12], 21: KNOWN[21]}))
    first = account(accounts, [on(process(11), process(12, memory=3 * GIB))], tick(HELD))
    (number,) = first.holders
    assert (first.holders[number].command, first.holders[number].user) == ("p12", None)
    # Another task grows, another job comes: who it was described by is still there.
    second = account(accounts, [on(process(11, memory=9 * GIB), process(12), process(21))], tick(HELD, at=20))
    assert [holder.job for holder in second.holders.values()] == ["2"]
    assert second.places == {}
    known[12] = Known(step("1", "2", user="alice"), command="p12")
    third = account(accounts, [on(process(11, memory=GIB), process(12, memory=2 * GIB))], tick(HELD, at=30))
    assert {key: (holder.user, holder.command) for key, holder in third.holders.items()} == {number: ("alice", "p12")}
    fourth = account(accounts, [on(process(11, memory=GIB))], tick(HELD, at=40))
    assert {key: (holder.user, holder.command) for key, holder in fourth.holders.items()} == {number: (None, "p11")}
    assert account(accounts, [on()], tick(FREE, at=50)).entries == []
    again = account(accounts, [on(process(11, memory=GIB))], tick(HELD, at=60))
    assert list(again.holders) != [number]
    assert len(again.places) == 1


def test_a_flood_of_holders_is_told_as_one() -> None:
    """The time is not lost, and no report outgrows the wire."""
    many = {pid: Known(step(str(pid))) for pid in range(3000)}
    used = account(Accounts(Looked(many)), [on(*map(process, many))], tick(HELD))
    (holder,) = used.holders.values()
    assert (holder.kind, holder.absent) == ("unknown", TOO_MANY.holder.absent)
    assert [(entry.held, entry.processes) for entry in used.entries] == [(10_000, 3000)]


def test_without_a_process_to_look_at_it_is_unknown(tmp_path: Path) -> None:
    """From real files: a process that has ended has a holder all the same."""
    (tmp_path / "proc").mkdir()
    used = account(Accounts(Attribution(tmp_path)), [on(process(4_190_001))], tick(HELD))
    (holder,) = used.holders.values()
    assert (holder.kind, holder.absent["workload"]) == ("unknown", "the process has ended")


USES = st.sampled_from([ACTIVE, HELD, FREE, UNKNOWN])
PROCESSES = st.lists(
    st.builds(process, st.integers(0, 99), st.none() | st.floats(0, 100), st.none() | st.integers(0, 80 * GIB)),
    max_size=5,
    unique_by=lambda found: found.pid,
)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[list[Gpu], list[ProcessList], Tick]:
    """A GPU cut into partitions, one that is not, what runs on them, and what else a driver may tell of them."""
    count = draw(st.integers(0, 4))
    shares = draw(st.lists(st.none() | st.floats(0, 1), min_size=count, max_size=count))
    partitions = [Partition(uuid=f"MIG-{n}", share=share) for n, share in enumerate(shares)]
    cut = Gpu(uuid="GPU-0", vendor="v", index=0, partitions=partitions)
    known = st.none() | st.sampled_from(["no permission", "lost"])
    places: list[Place] = [("GPU-0", f"MIG-{n}") for n in range(count)] or [("GPU-0", None)]
    # A partition without a UUID, and one that is not in the roster yet.
    places += draw(st.lists(st.sampled_from([("GPU-0", None), ("GPU-0", "MIG-9"), ("GPU-1", None)]), max_size=3))
    lists = [ProcessList(gpu, partition, tuple(draw(PROCESSES)), draw(known)) for gpu, partition in places]
    taken = tick(draw(USES), draw(USES), partitions=tuple(draw(USES) for _ in range(count)))
    return [cut, Gpu(uuid="GPU-1", vendor="v", index=1)], lists, taken


@given(st.lists(nodes(), min_size=1, max_size=4), st.dictionaries(st.integers(0, 99), st.integers(-5, 50)))
def test_a_gpus_holders_have_no_more_time_than_there_was(
    samples: list[tuple[list[Gpu], list[ProcessList], Tick]], started: dict[int, int]
) -> None:
    """With and without partitions, whatever the driver lists; and none has more than it was there for."""
    known = {pid: Known(KNOWN[pid].holder, started=started[pid] * SECOND if pid in started else None) for pid in KNOWN}
    accounts = Accounts(Looked(known))
    places: dict[int, Place] = {}
    for number, (roster, lists, one) in enumerate(samples):
        taken = Tick((number + 1) * 10 * SECOND, *(getattr(one, name) for name in one.__slots__[1:]))
        used = accounts.used(lists, taken, roster)
        assert used is not None
        places.update(used.places)
        spent: dict[str, int] = {}
        for entry in used.entries:
            assert entry.active + entry.held <= entry.observed <= taken.duration
            gpu = places[entry.place][0]
            spent[gpu] = spent.get(gpu, 0) + entry.active + entry.held
        assert all(time <= taken.duration for time in spent.values())
