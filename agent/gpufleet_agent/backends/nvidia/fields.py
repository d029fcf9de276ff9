"""nvmlDeviceGetFieldValues: many values by one call, into one array that is kept."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import LASTING, Handle, failure, function
from gpufleet_agent.backends.nvidia.moment import Moment, Number
from gpufleet_agent.backends.nvidia.structs import MEMBERS, FieldValue
from gpufleet_agent.catalogue import Reason

ALL_LINKS = 0xFFFFFFFF

# Ids whose meaning differs between driver versions (swapped in 560/575, renumbered within 580): never to be asked of
# those before 590.
RENUMBERED = frozenset({199, 200, 251, 252, 253, 269, 270, 271})


class FieldSlot:
    """One field of one GPU. Called, it gives the field's value."""

    __slots__ = ("_batch", "_convert", "cell", "key")

    def __init__(self, batch: FieldBatch, key: tuple[int, int], convert: Callable[[Number], Number] | None) -> None:
        self._batch, self.key, self._convert = batch, key, convert
        self.cell = FieldValue()

    def __call__(self, moment: Moment) -> Number:
        self._batch.fetch(moment)
        cell = self.cell
        if cell.code or cell.type >= len(MEMBERS):
            raise self._batch.refusal(self)
        value: Number = getattr(cell, MEMBERS[cell.type])
        return value if self._convert is None else self._convert(value)

    @property
    def is_narrow(self) -> bool:
        """Whether the driver gives this field as an integer of 32 bits."""
        return bool(MEMBERS[self.cell.type] == "uint")


class FieldBatch:
    """The fields wanted of one GPU, fetched together at most once a moment."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._call = function("nvmlDeviceGetFieldValues")
        self._slots: list[FieldSlot] = []
        self._array: ctypes.Array[FieldValue] = (FieldValue * 0)()
        self._moment: Moment | None = None
        self._is_changed = False

    def add(self, number: int, scope: int, convert: Callable[[Number], Number] | None) -> FieldSlot:
        """A slot for a field; the next fetch asks for it."""
        slot = FieldSlot(self, (number, scope), convert)
        self._slots.append(slot)
        self._is_changed, self._moment = True, None
        return slot

    def fetch(self, moment: Moment) -> None:
        """Ask the driver, unless this moment's answer is here already."""
        if self._moment is moment:
            return
        if self._is_changed:
            self._rebuild()
        self._moment = moment
        code = self._call(self._handle, len(self._array), self._array)
        if code:
            # The call as a whole failed: what the fields say was not written by it.
            for cell in self._array:
                cell.code = code

    def refusal(self, slot: FieldSlot) -> Exception:
        """Why a slot has no value; one that will never have is not asked for again."""
        if not slot.cell.code:
            return Reading(Reason.IMPLAUSIBLE)
        error = failure(slot.cell.code, argued=True)
        if isinstance(error, Reading) and error.reason in LASTING:
            self._slots = [other for other in self._slots if other.key != slot.key]
            self._is_changed = True
        return error

    def _rebuild(self) -> None:
        keys = list(dict.fromkeys(slot.key for slot in self._slots))
        self._array = (FieldValue * len(keys))()
        for cell, key in zip(self._array, keys, strict=True):
            cell.field, cell.scope = key
        cells = dict(zip(keys, self._array, strict=True))
        for slot in self._slots:
            slot.cell = cells[slot.key]
        self._is_changed = False


def read_field(handle: Handle, number: int) -> Number:
    """One field, asked by itself. Reading, GpuLost or DriverGone where it has no value."""
    if number in RENUMBERED:
        raise Reading(Reason.UNSUPPORTED)
    return FieldBatch(handle).add(number, 0, None)(Moment(0.0, 0.0))
