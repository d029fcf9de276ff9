"""Draws docs/img/top.svg: what `gpufleet top` shows of the server that `gpufleet demo` or `up` started last."""

import io
import re
from pathlib import Path

from gpufleet_server.cli.client import Api
from gpufleet_server.cli.settings import access
from gpufleet_server.cli.top import look, view
from rich.console import Console

PICTURE = Path(__file__).parent / "img" / "top.svg"
WIDTH, ROWS = 120, 30


def main() -> None:
    """Take one look and draw it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    with Api(access(None, None)) as api:
        console.print(view(look(api, {"site": None, "model": None}, ROWS), console, ROWS))
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = console.export_svg(title="gpufleet top", unique_id="top")
    # Who looks at the picture shall not have to load fonts from elsewhere.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


if __name__ == "__main__":
    main()
