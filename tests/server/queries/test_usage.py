"""Usage added up by whatever is asked for."""

import dataclasses
from typing import Any

import pytest
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.usage import DAY
from gpufleet_server.queries.usage import Group, Range, groups, totals, within
from gpufleet_server.queries.usage_intervals import begun, listing
from gpufleet_server.queries.usage_parts import DIMENSIONS, UsageFilter
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import due
from gpufleet_server.store.usage import FLEET_DUE, USAGE_DUE, usage, usage_daily, usage_recent
from gpufleet_server.store.usage_days import add_up_days
from sqlalchemy import delete, func, insert, select

from tests.server.fleet import Fleet
from tests.server.used import HOUR, MIDNIGHT, Used

_END = MIDNIGHT + 3 * DAY
_MS = 3_600_000


@dataclasses.dataclass
class Site:
    """Two nodes of two GPUs each, at two sites: jobs of alice and bob, a pod, a display manager, and nobody's."""

    store: Store
    used: Used
    nodes: tuple[int, int]
    holders: dict[str, int]

    def ask(self, *by: str, since: int = MIDNIGHT, until: int = _END, limit: int = 100, **wanted: Any) -> list[Group]:
        """The groups of the first page."""
        with self.store.reading() as connection:
            return groups(connection, by, UsageFilter(**wanted), Range(since, until, until), limit=limit).items

    def hours(self, by: str, **given: Any) -> dict[str | None, float]:
        """GPU-hours by the first column of a dimension, or by who is no workload."""
        name = DIMENSIONS[by][0]
        return {each.names[name] or each.holder: each.gpu_ms / _MS for each in self.ask(by, **given)}


@pytest.fixture
def site(store: Store) -> Site:
    """Day 0: alice's jobs on all four GPUs for 6 hours. Day 1: bob shares a GPU with alice. Day 2: pod and others."""
    fleet, used = Fleet(store), Used(store)
    one, two = fleet.node("alpha", site="oslo"), fleet.node("beta", site="bergen", simulated=True)
    for number, node_id in enumerate((one, two)):
        for slot in range(2):
            fleet.gpu(node_id, f"GPU-{2 * number + slot}", model=("H100", "A100")[slot])
    step: dict[str, Any] = {"uid": 1, "user": "alice", "job": "1", "step": "0", "account": "physics"}
    holders = {
        "alice": used.holder(one, "slurm", **step),
        "alice, bergen": used.holder(two, "slurm", **step),
        "bob": used.holder(one, "slurm", uid=2, job="2", step="0"),
        "pod": used.holder(two, "kubernetes", namespace="ml", pod="train-0", pod_uid="u", uid=0),
        "nobody": used.holder(two, "nobody"),
        "unit": used.holder(two, "unit", unit="gdm.service", uid=42, user="gdm"),
    }
    for node_id, name in ((one, "alice"), (two, "alice, bergen")):
        for slot in range(2):
            used.interval(node_id, slot, holders[name], MIDNIGHT + HOUR, MIDNIGHT + 7 * HOUR, active=50)
    day = MIDNIGHT + DAY
    for name in ("alice", "bob"):
        used.interval(one, 0, holders[name], day, day + 4 * HOUR, held=2 * _MS)
    used.interval(one, 0, holders["bob"], day + 5 * HOUR, day + 6 * HOUR, active=100)
    day += DAY
    used.interval(two, 0, holders["pod"], day + HOUR, day + 3 * HOUR, active=100)
    used.interval(two, 1, holders["nobody"], day + HOUR, day + 2 * HOUR)
    used.interval(two, 1, holders["unit"], day, day + 2 * HOUR, held=0)
    return Site(store, used, (one, two), holders)


_BY = [("user",), ("kind",), ("account",), ("namespace",), ("site",), ("node",), ("model",), ("user", "node", "model")]


@pytest.mark.parametrize("by", _BY)
def test_days_tell_the_same_as_their_intervals(site: Site, by: tuple[str, ...]) -> None:
    """Whatever is asked for, before and after days were added up; and of whole days only these are read."""
    cuts = [(0, 3 * DAY), (2 * HOUR, 2 * DAY + 2 * HOUR), (5 * HOUR, 6 * HOUR)]

    def ask() -> list[list[Group]]:
        return [site.ask(*by, since=MIDNIGHT + since, until=MIDNIGHT + until) for since, until in cuts]

    before = ask()
    assert add_up_days(site.store, _END + HOUR) == 4
    assert ask() == before
    with site.store.writing() as connection:
        waiting = select(func.count()).where(due.c.kind.in_((USAGE_DUE, FLEET_DUE)))
        assert connection.execute(waiting).scalar() == 0
        connection.execute(delete(usage))
    assert ask()[0] == before[0]


@pytest.mark.parametrize("by", [each for each in _BY if "node" not in each])
@pytest.mark.parametrize("end", [_END, _END - 22 * HOUR])
def test_days_of_the_fleet_tell_the_same_but_for_gpus(site: Site, by: tuple[str, ...], end: int) -> None:
    """GPUs and nodes are not counted, all else is as it was; from intervals where days are not done."""
    when = Range(MIDNIGHT - 30 * DAY, end, _END)

    def ask(when: Range) -> list[Group]:
        with site.store.reading() as connection:
            return groups(connection, by, UsageFilter(), when, limit=100).items

    expected = [dataclasses.replace(each, gpus=None, nodes=None) for each in ask(when)]
    long = dataclasses.replace(when, by_day=True)
    assert ask(long) == expected
    add_up_days(site.store, _END + HOUR)
    assert ask(long) == expected
    if end == _END:
        with site.store.writing() as connection:
            connection.execute(delete(usage))
            connection.execute(delete(usage_daily))
        assert ask(long) == expected


def test_which_ranges_are_told_by_day(site: Site) -> None:
    """Long ones of what days know; they begin with a day."""
    with site.store.reading() as connection:
        since = MIDNIGHT - 20 * DAY + HOUR
        found = within(connection, since, _END, _END, ["user", "site"], UsageFilter(model=["H100"]))
        assert found == Range(since - HOUR, _END, _END, by_day=True)
        for by, wanted in ((["job"], UsageFilter()), (["node"], UsageFilter()), (["user"], UsageFilter(gpu=["GPU-0"]))):
            assert within(connection, since, _END, _END, by, wanted) == Range(since, _END, _END)
        assert not within(connection, _END - 7 * DAY, _END, _END, ["user"], UsageFilter()).by_day


def test_by_user(site: Site) -> None:
    """Whose GPU-hours, with a number for a name that is not known; what is nobody's is told apart; most comes first."""
    found = site.ask("user")
    assert [(each.names["user"], each.holder, each.gpu_ms / _MS) for each in found] == [
        ("alice", None, 26),
        ("2", None, 3),
        (None, None, 2),
        (None, "nobody", 1),
        ("gdm", None, 0),
    ]
    alice = found[0]
    assert (alice.active, alice.held) == (12 * _MS, 14 * _MS)
    assert (alice.gpus, alice.nodes, alice.simulated) == (4, 2, 12 * _MS)
    assert (alice.first, alice.last) == (MIDNIGHT + HOUR, MIDNIGHT + DAY + 4 * HOUR)
    assert (alice.memory_mean, alice.memory_most) == (1 << 20, 2 << 20)
    assert alice.activity == pytest.approx(0.5 * 24 / 28)


def test_by_all_else(site: Site) -> None:
    """Jobs are told apart by their cluster, and several dimensions at once are pairs."""
    assert site.hours("namespace") == {None: 29, "ml": 2, "nobody": 1}
    assert site.hours("model") == {"H100": 19, "A100": 13}
    assert site.hours("gpu") == {"GPU-0": 11, "GPU-1": 6, "GPU-2": 8, "GPU-3": 7}
    assert site.hours("site") == {"oslo": 17, "bergen": 15}
    pairs = {(each.names["kind"], each.names["site"]): each.gpu_ms / _MS for each in site.ask("kind", "site")}
    assert pairs["slurm", "oslo"] == 17
    assert [(each.names["job"], each.names["cluster"]) for each in site.ask("job")[:3]] == [
        ("1", "oslo"),
        ("1", "bergen"),
        ("2", "oslo"),
    ]
    (pod,) = site.ask("pod", namespace=["ml"])
    assert pod.names == {"pod": "train-0", "namespace": "ml", "pod_uid": "u"}


@pytest.mark.parametrize(
    ("wanted", "hours"),
    [
        ({"user": ["alice"]}, 26),
        ({"user": ["alice", "2"]}, 29),
        ({"job": ["1"], "site": ["oslo"]}, 14),
        ({"namespace": ["ml"]}, 2),
        ({"model": ["A100"]}, 13),
        ({"gpu": ["GPU-0"]}, 11),
        ({"node": ["beta"]}, 15),
        ({"simulated": False}, 17),
        ({"kind": ["nobody"]}, 1),
        ({"unit": ["gdm.service"]}, 0),
    ],
)
def test_narrowed(site: Site, wanted: dict[str, Any], hours: float) -> None:
    """Only what was asked for is added up, from intervals and from days."""
    for _ in range(2):
        assert sum(each.gpu_ms for each in site.ask("kind", **wanted)) / _MS == hours
        add_up_days(site.store, _END + HOUR)


def test_an_interval_that_the_range_cuts_counts_in_proportion(site: Site) -> None:
    """Of six hours half active, one hour is half an hour active; first and last are within the range."""
    (alice,) = site.ask("user", since=MIDNIGHT + 5 * HOUR, until=MIDNIGHT + 6 * HOUR, node=["alpha"])
    assert (alice.active, alice.held, alice.observed) == (_MS, _MS, 2 * _MS)
    assert (alice.first, alice.last) == (MIDNIGHT + 5 * HOUR, MIDNIGHT + 6 * HOUR)


def test_pages(site: Site) -> None:
    """Page after page, groups come in the same order, each once."""
    when, cursor, found = Range(MIDNIGHT, _END, _END), None, list[Group]()
    with site.store.reading() as connection:
        while True:
            page = groups(connection, ["user", "gpu"], UsageFilter(), when, limit=2, cursor=cursor)
            found += page.items
            if (cursor := page.next) is None:
                break
    assert found == site.ask("user", "gpu")
    assert len(found) == 8


def test_pages_of_what_goes_on(site: Site) -> None:
    """The pages that follow are of the first one's range: who has more by then is on none twice, and not left out."""
    since, now, by = _END - DAY, _END + 3 * HOUR, ["gpu"]
    with site.store.reading() as connection:
        when = within(connection, since, _END - HOUR, _END, by)
        first = groups(connection, by, UsageFilter(), when, limit=1)
    site.used.interval(site.nodes[0], 1, site.holders["bob"], _END - HOUR, now, active=100)
    with site.store.reading() as connection:
        later = within(connection, since + HOUR, now, now, by, cursor=first.next)
        assert (later.since, later.until) == (since, _END - HOUR)
        rest = groups(connection, by, UsageFilter(), later, limit=9, cursor=first.next)
        assert [each.names["gpu"] for each in (*first.items, *rest.items)] == ["GPU-2", "GPU-3"]
        with pytest.raises(Problem):
            within(connection, since, now, now, ["user"], cursor=first.next)


def test_what_is_not_folded_is_not_told(site: Site) -> None:
    """A range ends where all that was received is in it."""
    with site.store.writing() as connection:
        row = {"node_id": 1, "received_at": _END - 60, "pieces": b""}
        connection.execute(insert(usage_recent).values(row))
    with site.store.reading() as connection:
        assert within(connection, 0, _END, _END) == Range(0, _END - 60, _END - 60)
        assert within(connection, _END - 10, _END, _END) == Range(_END - 10, _END - 10, _END - 60)
        assert groups(connection, ["user"], UsageFilter(), Range(5, 5, 5), limit=1).items == []
        assert totals(connection, UsageFilter(), Range(5, 5, 5)) is None


def test_intervals_one_by_one(site: Site) -> None:
    """Whole, the newest first, page by page."""
    when, wanted = Range(MIDNIGHT + 2 * HOUR, _END, _END), UsageFilter(job=["1"], node=["alpha"])
    with site.store.reading() as connection:
        first = listing(connection, wanted, when, limit=2)
        rest = listing(connection, wanted, when, limit=2, cursor=first.next)
    found = [*first.items, *rest.items]
    assert [(each.gpu, (each.begin - MIDNIGHT) // HOUR) for each in found] == [
        ("GPU-0", 24),
        ("GPU-0", 1),
        ("GPU-1", 1),
    ]
    assert found[0].holder.fields["user"] == "alice"
    assert (found[0].active, found[0].held, found[0].memory_mean) == (0, 2 * _MS, 1 << 20)
    assert rest.next is None


def test_since_when_over_midnights(site: Site) -> None:
    """An interval that goes on began before the midnights that cut it, not before a gap."""
    node_id, holder_id, day = site.nodes[0], site.holders["bob"], _END
    for begin, end in ((1, 2), (3, 24), (24, 48), (48, 49)):
        site.used.interval(node_id, 1, holder_id, day + begin * HOUR, day + end * HOUR)
    now = day + 49 * HOUR
    with site.store.reading() as connection:
        assert begun(connection, node_id, 1, "", holder_id, now) == day + 3 * HOUR
        assert begun(connection, node_id, 0, "", holder_id, now) == now
    for number in range(40):
        begin = day + (49 if number == 0 else 48 + 24 * number) * HOUR
        site.used.interval(node_id, 1, holder_id, begin, day + (72 + 24 * number) * HOUR)
    with site.store.reading() as connection:
        assert begun(connection, node_id, 1, "", holder_id, day + 42 * DAY - HOUR) == day + 49 * HOUR


def test_days_are_added_up_again_but_never_from_less(site: Site) -> None:
    """What comes late is added; where the intervals are gone what was added up stays."""
    add_up_days(site.store, _END + HOUR)
    site.used.interval(site.nodes[0], 0, site.holders["bob"], MIDNIGHT, MIDNIGHT + HOUR)
    add_up_days(site.store, _END + HOUR)
    assert site.hours("user")["2"] == 4
    with site.store.writing() as connection:
        connection.execute(delete(usage).where(usage.c.begin < MIDNIGHT + DAY))
    site.used.interval(site.nodes[0], 0, site.holders["bob"], MIDNIGHT, MIDNIGHT + HOUR)
    add_up_days(site.store, _END + HOUR)
    assert site.hours("user") == {"alice": 26, "2": 4, None: 2, "nobody": 1, "gdm": 0}
    with site.store.reading() as connection:
        assert connection.execute(select(func.max(usage_daily.c.day))).scalar() == MIDNIGHT + 2 * DAY
