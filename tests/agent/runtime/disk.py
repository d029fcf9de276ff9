"""A folder whose disk is watched: each write in order, to be refused or torn; and what a cut of power leaves of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from unittest import mock

# What a disk writes whole or not at all; a page, but small, so that a test's few records span several.
SECTOR = 64

Kind = Literal["create", "write", "truncate", "sync", "rename", "unlink", "mkdir", "sync folder"]


@dataclass(frozen=True)
class Op:
    """One operation. `name` is below the folder, `inode` the file that is meant, `at` where in it; `to` of a rename."""

    kind: Kind
    name: Path
    inode: int = 0
    at: int = 0
    data: bytes = b""
    to: Path | None = None

    @property
    def grows(self) -> bool:
        """Whether a full disk refuses it."""
        return self.kind in ("create", "write", "mkdir")


@dataclass
class Fate:
    """What befalls an operation: `refused` is raised in its place; of a write only so many bytes are `taken`."""

    refused: int = 0
    taken: int | None = None


Decide = Callable[[Op], Fate]


def full(_: Op) -> Fate:
    """What a full disk does."""
    return Fate(refused=errno.ENOSPC)


@dataclass
class _File:
    inode: int
    name: Path
    size: int = 0


class Disk:
    """While entered, sees all that this process does below `root`. It syncs nothing: no test cuts the real power."""

    def __init__(self, root: Path) -> None:
        self.ops: list[Op] = []
        self.decide: Decide = lambda _: Fate()
        # Called after each operation.
        self.done: Callable[[Op], None] = lambda _: None
        self._root = root
        self._files: dict[Path, _File] = {}
        self._open: dict[int, _File | Path] = {}
        self._real: dict[str, Any] = {}

    def __enter__(self) -> Self:
        names = ("open", "write", "ftruncate", "fsync", "close", "replace", "unlink", "mkdir")
        self._real = {name: getattr(os, name) for name in names}
        self._patches = [mock.patch.object(os, name, getattr(self, f"_os_{name}")) for name in names]
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for patch in self._patches:
            patch.stop()

    def _below(self, path: object) -> Path | None:
        if not isinstance(path, (str, Path)) or not Path(path).is_relative_to(self._root):
            return None
        return Path(path).relative_to(self._root)

    def _do(self, op: Op, call: Callable[[], Any], fate: Fate | None = None) -> Any:
        """Note an operation that is done; OSError where it is not to be."""
        if refused := (fate or self.decide(op)).refused:
            raise OSError(refused, os.strerror(refused), str(op.name))
        result = call()
        self.ops.append(op)
        self.done(op)
        return result

    def _os_open(self, path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        call, name = self._real["open"], self._below(path)
        if name is None or flags & (os.O_WRONLY | os.O_DIRECTORY) == 0:
            fd: int = call(path, flags, mode, **rest)
            return fd
        if flags & os.O_DIRECTORY:
            fd = call(path, flags, mode)
            self._open[fd] = name
            return fd
        file = self._files.get(name)
        if file is None:
            file = _File(len(self.ops) + 1, name)
            fd = self._do(Op("create", name, file.inode), lambda: call(path, flags, mode))
            self._files[name] = file
        else:
            fd = self._do(Op("truncate", name, file.inode), lambda: call(path, flags, mode))
            file.size = 0
        self._open[fd] = file
        return fd

    def _os_write(self, fd: int, data: bytes) -> int:
        file, call = self._open.get(fd), self._real["write"]
        if not isinstance(file, _File):
            written: int = call(fd, data)
            return written
        fate = self.decide(Op("write", file.name, file.inode, file.size, bytes(data)))
        part = bytes(data)[: fate.taken]
        written = self._do(Op("write", file.name, file.inode, file.size, part), lambda: call(fd, part), fate)
        file.size += written
        return written

    def _os_ftruncate(self, fd: int, size: int) -> None:
        file, call = self._open.get(fd), self._real["ftruncate"]
        if isinstance(file, _File):
            self._do(Op("truncate", file.name, file.inode, size), lambda: call(fd, size))
            file.size = size
        else:
            call(fd, size)

    def _os_fsync(self, fd: int) -> None:
        of = self._open.get(fd)
        if isinstance(of, _File):
            self._do(Op("sync", of.name, of.inode), lambda: None)
        elif of is not None:
            self._do(Op("sync folder", of), lambda: None)
        else:
            self._real["fsync"](fd)

    def _os_close(self, fd: int) -> None:
        self._open.pop(fd, None)
        self._real["close"](fd)

    def _os_replace(self, source: Any, target: Any) -> None:
        name, to, call = self._below(source), self._below(target), self._real["replace"]
        if name is None or to is None:
            call(source, target)
            return
        file = self._files[name]
        self._do(Op("rename", name, file.inode, to=to), lambda: call(source, target))
        self._files[to] = self._files.pop(name)
        file.name = to

    def _os_unlink(self, path: Any, **rest: Any) -> None:
        name, call = self._below(path), self._real["unlink"]
        if name is None or rest.get("dir_fd") is not None or name not in self._files:
            call(path, **rest)
            return
        self._do(Op("unlink", name, self._files[name].inode), lambda: call(path))
        del self._files[name]

    def _os_mkdir(self, path: Any, mode: int = 0o777, **rest: Any) -> None:
        name, call = self._below(path), self._real["mkdir"]
        if name is None or os.path.exists(path):  # noqa: PTH110 - as cheap as it gets
            call(path, mode, **rest)
        else:
            self._do(Op("mkdir", name), lambda: call(path, mode))


@dataclass
class _Inode:
    safe: bytes = b""
    now: bytes = b""


@dataclass
class Left:
    """What a disk may hold after these operations when the power is cut.

    Of what was not synced any sector of a file may be there or all zeros, and any entry of a folder be changed or not,
    in whatever order; what was synced is there.
    """

    inodes: dict[int, _Inode] = field(default_factory=dict)
    safe: dict[Path, dict[str, int]] = field(default_factory=lambda: {Path(): {}})
    pending: dict[Path, list[Op]] = field(default_factory=dict)

    @classmethod
    def after(cls, ops: Iterable[Op]) -> Self:
        """Of these operations."""
        left = cls()
        for op in ops:
            left._take(op)
        return left

    def write(self, into: Path, keep: Callable[[], bool]) -> None:
        """Put it into an empty folder; `keep` decides for each thing that was not synced."""
        self._write(into, Path(), keep)

    def _take(self, op: Op) -> None:
        if op.kind == "sync folder":
            entries = self.safe.setdefault(op.name, {})
            for change in self.pending.pop(op.name, []):
                _change(entries, change)
        elif op.kind in ("create", "rename", "unlink", "mkdir"):
            self.pending.setdefault(op.name.parent, []).append(op)
            if op.kind == "create":
                self.inodes[op.inode] = _Inode()
        else:
            self._take_content(op, self.inodes[op.inode])

    def _take_content(self, op: Op, inode: _Inode) -> None:
        if op.kind == "sync":
            inode.safe = inode.now
        elif op.kind == "truncate":
            inode.now = inode.now[: op.at]
        else:
            inode.now = inode.now[: op.at] + op.data

    def _write(self, into: Path, folder: Path, keep: Callable[[], bool]) -> None:
        entries = dict(self.safe.get(folder, {}))
        for change in self.pending.get(folder, []):
            if keep():
                _change(entries, change)
        for name, inode in entries.items():
            if inode:
                (into / name).write_bytes(_content(self.inodes[inode], keep))
            else:
                (into / name).mkdir()
                self._write(into / name, folder / name, keep)


def _change(entries: dict[str, int], op: Op) -> None:
    """Do to a folder's entries, names with inodes, what an operation does; a folder has inode 0."""
    if op.kind == "rename" and op.to is not None:
        entries.pop(op.name.name, None)
        entries[op.to.name] = op.inode
    elif op.kind == "unlink":
        entries.pop(op.name.name, None)
    else:
        entries[op.name.name] = op.inode


def _content(inode: _Inode, keep: Callable[[], bool]) -> bytes:
    if inode.safe == inode.now:
        return inode.now
    size = len(inode.now) if keep() else len(inode.safe)
    content = bytearray(inode.safe[:size].ljust(size, b"\0"))
    for start in range(0, size, SECTOR):
        if keep():
            content[start : start + SECTOR] = inode.now[start : start + SECTOR].ljust(
                len(content[start : start + SECTOR]), b"\0"
            )
    return bytes(content)
