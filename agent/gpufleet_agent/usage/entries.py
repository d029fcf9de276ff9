"""What a sample says of its holders, in numbers: small enough to stand in the journal of every tick."""

from __future__ import annotations

from msgspec import Struct

from gpufleet_agent.wire import Holder

Place = tuple[str, str | None]


class Entry(Struct, array_like=True, frozen=True):
    """One holder in one place during a sample.

    `observed` is how much of the sample, ms, its processes were there; `active` and `held` are ms of the whole GPU's
    time that fall to it. `memory` is in KiB, `activity` in basis points, None where they are not known.
    """

    place: int
    holder: int
    observed: int
    active: int
    held: int
    memory: int | None
    activity: int | None
    processes: int


class Used(Struct):
    """The holders of a sample's GPUs. `begin` is where the sample begins, which is where the one before ended.

    `places` (GPU and partition) and `holders` describe the numbers in the entries when they first come up, and again
    when something about them changed.
    """

    begin: int
    entries: list[Entry]
    places: dict[int, Place] = {}
    holders: dict[int, Holder] = {}
