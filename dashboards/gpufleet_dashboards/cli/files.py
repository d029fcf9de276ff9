"""Writing and reading files, and how that fails."""

from pathlib import Path

from gpufleet_server.cli.errors import CliError


def write(file: Path, text: str) -> None:
    """Write a file, its folder too. CliError where it can't be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"can't write {file}: {error.strerror}") from error


def read(file: Path) -> str | None:
    """A file's text; None where there is none. CliError where it can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"can't read {file}: {error}") from error
