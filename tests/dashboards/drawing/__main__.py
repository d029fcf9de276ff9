"""Draws every board over a simulated fleet: `make docs-pictures` puts the pictures into docs/img/dashboards."""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document

from tests.bench import dashboards as bench
from tests.bench.board_queries import chosen, of_board
from tests.dashboards.drawing.asking import answers, range_of, told
from tests.dashboards.drawing.board import drawn, write

PICTURES = Path(__file__).parents[3] / "docs" / "img" / "dashboards"


@contextmanager
def store(database: str | None) -> Iterator[str]:
    """The URL of a store with a fleet: the one that is named, or one that is made for this."""
    if database is not None:
        yield database
        return
    args = bench.parser().parse_args(["--gpus", "2112", "--watched", "264", "--templates", "264"])
    with tempfile.TemporaryDirectory(prefix="gpufleet-drawing-") as folder:
        Path(folder).chmod(0o755)
        with bench.filled(args, Path(folder)) as url:
            yield url


def draw(board: Any, reader: psycopg.Connection[Any], known: bench.Known) -> bytes:
    """The picture of a board, with the range that it opens with and what stands first in its menus."""

    def ask(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        with reader.cursor() as cursor:
            cursor.execute(sql.encode(), prepare=False)
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    asked, range_ = of_board(board), range_of(board, known.end_ms)
    values = chosen(asked, range_, ask, random.Random(1), known.liked, everything=True)
    return drawn(board, answers(reader, asked, range_, values), told(range_, values, {}))


def main() -> None:
    """Draw all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", help="only these")
    parser.add_argument("--database", help="a store with a fleet, by its URL: as a role that owns it")
    parser.add_argument("--out", type=Path, default=PICTURES)
    args = parser.parse_args()
    with store(args.database) as url:
        known = bench.known(url)
        with closing(psycopg.connect(bench.as_reader(url), autocommit=True)) as reader:
            for name, board in every_board().items():
                if not args.boards or name in args.boards:
                    picture = draw(json.loads(document(board)), reader, known)
                    write(args.out / f"{name}.png", picture)
                    print(f"{name}: {len(picture) / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
