"""The simulated month, small: faults are found, what is none is not told, and the judge notices if that is not so."""

from dataclasses import replace

import pytest
from gpufleet_server.store.engine import Store

from tests.bench.month import BEGAN, Month, summary
from tests.bench.month_faults import FAULTS
from tests.bench.month_harmless import HARMLESS
from tests.bench.month_judge import judge
from tests.bench.month_plan import plan
from tests.server.fixtures import embedded_store, new_sqlite

__all__ = ["embedded_store", "new_sqlite"]
_KINDS = ("GPU lost", "node cut off", "uncorrectable memory error", "network away for 20 to 80 s", "agent restarted")


def test_some_hours_of_a_small_fleet(store: Store) -> None:
    """Three faults are found within their time, two things that are none are told to nobody."""
    kinds = [kind for kind in (*FAULTS, *HARMLESS) if kind.name in _KINDS]
    it = plan(3, 100, 0.4, BEGAN, least=1, kinds=kinds)
    month = Month(store, it)
    month.play()
    verdict = judge(store, it)
    assert len(it.happenings) == len(_KINDS)
    assert (verdict.missed, verdict.false) == ([], [])
    assert verdict.found.total() == verdict.injected.total() == 3
    assert verdict.harmless.total() == 2
    assert verdict.delays["GPU lost"] == [0]
    # Without the plan all of it is false; and what never happened was not found.
    blank = judge(store, replace(it, happenings=[]))
    assert len(blank.false) == verdict.told() >= 3
    later = [replace(each, at=each.end, gpu=each.gpu + 1) for each in it.happenings]
    assert len(judge(store, replace(it, happenings=later)).missed) == 3
    told = summary(verdict, month.counts, 100, 0.4, len(it.nodes))
    assert told["found"] == 3
    assert told["false_per_day"] == pytest.approx(0)
