"""The benchmark of the boards asks what Grafana would, and sees where raw samples are read."""

import json
import random
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document

from tests.bench import dashboards
from tests.bench.board_asking import Pool, RefusedError
from tests.bench.board_queries import BoardQueries, Menu, Statement, chosen, of_board, statement
from tests.dashboards.grafana_sql.front import Range
from tests.postgres import NoPostgresError

END_MS = 1_790_000_000_000
HOUR = Range(END_MS - 3_600_000, END_MS)


def test_every_statement_of_a_board_is_found() -> None:
    """Those of the menus, the panels, closed rows included, and the annotations; each once."""
    for board in every_board().values():
        found = of_board(json.loads(document(board)))
        asked = {each.sql for each in (*found.statements, *(menu.query for menu in found.menus))}
        assert asked == {query.sql for _, query in board.queries}
        assert len({each.owner for each in found.statements}) == len(found.statements)


def test_values_are_of_the_menus() -> None:
    """A later menu is asked with what was chosen in those before; nodes that are liked are taken."""
    menus = [
        Menu("site", Statement("variable site", "SELECT site"), multi=True, include_all=True),
        Menu("node", Statement("variable node", "SELECT node WHERE site IN ($site)"), multi=False, include_all=False),
    ]
    answers = {
        "SELECT site": (["__text", "__value"], [("Frankfurt", "fra1"), ("O'Hare", "o'hare")]),
        "SELECT node WHERE site IN ('fra1','o''hare')": (["__value", "__text"], [("u1", "n1"), ("u2", "n2")]),
    }
    board = BoardQueries("b", "B", menus, [])
    site, node = chosen(board, HOUR, answers.__getitem__, random.Random(1), frozenset({"u2"}), everything=True)
    assert site.is_all and site.chosen == ("fra1", "o'hare")
    assert node.value == "u2"
    panel = Statement("P", "SELECT $__interval_ms, '$node'", panel=1, points=400, least="10s")
    assert statement(panel, HOUR, [site, node]) == "SELECT 10000, 'u2'"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Namespace, str]]:
    """The store of a benchmark, a small one, and its settings."""
    sizes = ["--gpus", "72", "--days", "2", "--watched", "2", "--templates", "33", "--repeat", "1"]
    args = dashboards.parser().parse_args(sizes)
    folder: Path = tmp_path_factory.mktemp("dashboards")
    try:
        with dashboards.filled(args, folder) as url:
            yield args, url
    except NoPostgresError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_board_is_asked(store: tuple[Namespace, str]) -> None:
    """Each of its statements over each range, and the whole; nothing wide reads samples."""
    args, url = store
    found, gpus = dashboards.measure(args, url)
    assert gpus == 72
    boards = [of_board(json.loads(document(board))) for board in every_board().values()]
    assert list(found) == [board.uid for board in boards]
    for board in boards:
        owners = {each.owner for each in (*board.statements, *(menu.query for menu in board.menus))}
        assert set(found[board.uid].single) == {(owner, length) for owner in owners for length in dashboards.RANGES}
        assert all(found[board.uid].board_s(length) > 0 for length in dashboards.RANGES)
    told = dashboards.result(found, gpus)
    assert {"bench": "dashboards", "gpus": 72}.items() <= told.items()
    assert 0 < told["worst_panel_p95_ms"] < 60_000 and 0 < told["worst_board_s"] < 60
    assert not [line for line in told["raw"] if line.endswith("30 d")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_samples_that_are_read_are_seen(store: tuple[Namespace, str]) -> None:
    """Partitions of raw tables by their names, with rows; a branch that is not run is none. Errors are no answers."""
    _, url = store
    now = int(time.time() * 1e6)
    with closing(Pool(url, 2)) as pool:
        read = pool.tables("SELECT count(*) FROM sealed")
        assert all(name.startswith("sealed_") for name in read) and sum(read.values()) == 24 * 72 / 8
        assert not pool.tables("SELECT 1 FROM recent WHERE 1 > 2")
        assert set(pool.tables(f"SELECT 1 FROM gpus UNION ALL (SELECT 1 FROM sealed WHERE span > {2 * now})")) == {
            "gpus"
        }
        assert pool.timed("SELECT 1 FROM generate_series(1, 7)").rows == 7
        assert pool.at_once(["SELECT pg_sleep(0.2)"] * 4) == pytest.approx(0.4, abs=0.19)
        with pytest.raises(RefusedError, match="no_such"):
            pool.timed("SELECT no_such")
