"""Draws every board over simulated fleets: `make docs-pictures` puts the pictures into docs/img/dashboards."""

import argparse
import datetime
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document

from tests.bench import dashboards as bench
from tests.bench.board_queries import chosen, of_board
from tests.dashboards.drawing.asking import answers, range_of, told
from tests.dashboards.drawing.board import drawn, write
from tests.dashboards.fleet import world as worlds
from tests.postgres import DISPOSABLE, postgres

PICTURES = Path(__file__).parents[3] / "docs" / "img" / "dashboards"


@dataclass(frozen=True)
class Fleet:
    """Who reads it, what its boards take for now (ms), and the nodes and GPUs that are to be shown."""

    url: str
    end_ms: int
    liked: frozenset[str]


# What shows a month of a large fleet; the others show what goes wrong, of the fleet of the boards' tests.
_LARGE = ("energy", "fleet", "gpufleet", "inventory", "waste")


@contextmanager
def small() -> Iterator[Fleet]:
    """The fleet of the boards' tests, made for this."""
    with _folder() as folder, postgres(folder, DISPOSABLE) as server:
        world = worlds.made(server.url(), "world")
        yield _fleet(world.owner_url, world.end // 1000, ahead=True)


@contextmanager
def large() -> Iterator[Fleet]:
    """A fleet as the benchmark of the boards has it, of fewer GPUs, made for this."""
    args = bench.parser().parse_args(["--gpus", "2112", "--watched", "33"])
    with _folder() as folder, bench.filled(args, folder) as url:
        yield _fleet(url, bench.known(url).end_ms, ahead=True)


@contextmanager
def named(database: str) -> Iterator[Fleet]:
    """A store that is there already."""
    yield _fleet(database, bench.known(database).end_ms)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gpufleet-drawing-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


_LIVELY = """SELECT nodes.uuid, gpus.uuid
FROM events JOIN gpus USING (gpu_id) JOIN nodes ON nodes.node_id = gpus.node_id
GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT 1"""
# Made stores are ahead of the clock, so that nothing in them falls silent: "ago" would be said of the future.
_SEEN_NOW = (
    "UPDATE nodes SET last_seen = least(last_seen, CAST(extract(epoch FROM now()) * 1000000 AS bigint) - 4000000)"
)


def _fleet(url: str, end_ms: int, *, ahead: bool = False) -> Fleet:
    with psycopg.connect(url, autocommit=True) as owner:
        if ahead:
            owner.execute(_SEEN_NOW)
        liked = frozenset(owner.execute(_LIVELY).fetchone() or ())
    return Fleet(bench.as_reader(url), end_ms, liked)


def draw(board: Any, reader: psycopg.Connection[Any], of: Fleet) -> bytes:
    """The picture of a board, with the range that it opens with and what stands first in its menus."""

    def ask(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        with reader.cursor() as cursor:
            cursor.execute(sql.encode(), prepare=False)
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    asked, range_ = of_board(board), range_of(board, of.end_ms)
    values = chosen(asked, range_, ask, random.Random(1), of.liked, everything=True)
    begin, end = (datetime.datetime.fromtimestamp(at / 1000, datetime.UTC) for at in (range_.begin, range_.end))
    return drawn(board, answers(reader, asked, range_, values), told(range_, values, {}), (begin, end))


def main() -> None:
    """Draw all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", help="only these")
    parser.add_argument("--database", help="a store with a fleet, by its URL: as a role that owns it")
    parser.add_argument("--out", type=Path, default=PICTURES)
    args = parser.parse_args()
    wanted = [name for name in every_board() if not args.boards or name in args.boards]
    if args.database is not None:
        _draw(wanted, named(args.database), args.out)
        return
    for few, store in ((False, large), (True, small)):
        if some := [name for name in wanted if (name not in _LARGE) is few]:
            _draw(some, store(), args.out)


def _draw(names: Sequence[str], store: AbstractContextManager[Fleet], out: Path) -> None:
    with store as of, closing(psycopg.connect(of.url, autocommit=True)) as reader:
        for name in names:
            picture = draw(json.loads(document(every_board()[name])), reader, of)
            write(out / f"{name}.png", picture)
            print(f"{name}: {len(picture) / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
