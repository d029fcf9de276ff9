"""Draws every board over a simulated fleet: `make docs-pictures` puts the pictures into docs/img/dashboards."""

import argparse
import datetime
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
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


@contextmanager
def fleet(database: str | None) -> Iterator[Fleet]:
    """A store that is named, with a fleet; or one that is made for this, with the fleet of the boards' tests."""
    if database is not None:
        known = bench.known(database)
        yield Fleet(bench.as_reader(database), known.end_ms, known.liked)
        return
    with tempfile.TemporaryDirectory(prefix="gpufleet-drawing-") as folder:
        Path(folder).chmod(0o755)
        with postgres(Path(folder), DISPOSABLE) as server:
            world = worlds.made(server.url(), "world")
            yield Fleet(world.reader_url, world.end // 1000, frozenset())


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
    with fleet(args.database) as of, closing(psycopg.connect(of.url, autocommit=True)) as reader:
        for name, board in every_board().items():
            if not args.boards or name in args.boards:
                picture = draw(json.loads(document(board)), reader, of)
                write(args.out / f"{name}.png", picture)
                print(f"{name}: {len(picture) / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
