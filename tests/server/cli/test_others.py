"""Commands of distributions that are installed beside the server, or are not."""

from importlib.metadata import entry_points

import pytest
from gpufleet_server.cli import app, others
from typer.testing import CliRunner


def test_the_dashboards_are_there() -> None:
    """Their distribution names its commands, which are listed with the server's."""
    assert [point.value for point in entry_points(group=others.GROUP) if point.name == "dashboards"] == [
        "gpufleet_dashboards.cli:app"
    ]
    assert "dashboards" in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize("arguments", [[], ["build"], ["--help"]])
def test_without_them_it_says_what_to_install(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was asked of them."""
    monkeypatch.setattr(others, "_found", dict)
    result = CliRunner().invoke(app, ["dashboards", *arguments])
    assert result.exit_code == 2
    assert "pip install gpufleet-dashboards" in result.stderr


def test_a_name_that_nobody_has() -> None:
    """It is an error as any command's that is not there."""
    result = CliRunner().invoke(app, ["dashbords"])
    assert result.exit_code == 2
    assert "No such command" in result.stderr
