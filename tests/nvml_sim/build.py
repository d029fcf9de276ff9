"""Builds the simulated driver as libnvidia-ml.so.1, once per state of its sources."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
BUILDS = Path(__file__).parent / ".build"
SONAME = "libnvidia-ml.so.1"
FLAGS = ("-shared", "-fPIC", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden")
ZIG = (sys.executable, "-m", "ziglang", "cc")


class NoCompiler(RuntimeError):
    """Neither a C compiler on PATH nor the PyPI package ziglang is there."""


def compiler() -> tuple[str, ...]:
    """The command of the first C compiler found."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return (found,)
    if importlib.util.find_spec("ziglang"):
        return ZIG
    raise NoCompiler("nvml_sim needs cc, gcc or clang on PATH, or `pip install ziglang`")


def build(out: Path | None = None, *, without: Sequence[str] = (), command: Sequence[str] | None = None) -> Path:
    """The folder that holds the library, built if need be; functions in `without` are not exported."""
    folder = out or BUILDS / _digest(without, command)
    if not (folder / SONAME).exists():
        _build_into(folder, without, tuple(command or compiler()))
    return folder


def _digest(without: Sequence[str], command: Sequence[str] | None) -> str:
    seen = hashlib.sha256(repr((FLAGS, sorted(without), command)).encode())
    for source in sorted(SOURCES.iterdir()):
        seen.update(source.name.encode() + source.read_bytes())
    return seen.hexdigest()[:16]


def _exports(without: Sequence[str]) -> str:
    """A linker version script: an exact name under `local` beats the pattern under `global`."""
    return "{ global: nvml*; gpufleet_sim_*; local: " + "".join(f"{name}; " for name in without) + "*; };\n"


def _build_into(folder: Path, without: Sequence[str], command: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        script, library = Path(scratch, "exports.map"), Path(scratch, SONAME)
        script.write_text(_exports(without))
        link = (f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={script}", "-o", str(library), "-lm", "-lpthread")
        subprocess.run([*command, *FLAGS, *map(str, sorted(SOURCES.glob("*.c"))), *link], check=True)
        library.replace(folder / SONAME)


def main() -> None:
    """Print the folder to put into LD_LIBRARY_PATH."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--without", action="append", default=[], metavar="FUNCTION")
    asked = parser.parse_args()
    print(build(asked.out, without=asked.without))


if __name__ == "__main__":
    main()
