"""The generated pages are what catalogue and rules say now."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_are_up_to_date() -> None:
    """Generating them again gives the bytes that are checked in, and no runbook is left of a rule that there is not."""
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    pages: dict[str, str] = build.pages()
    there = {f"runbooks/{path.name}" for path in DOCS.glob("runbooks/*.md")}
    assert there == {name for name in pages if name.startswith("runbooks/")}, "run `make docs`"
    for name, text in pages.items():
        assert (DOCS / name).read_text() == text, f"{name}: run `make docs`"
