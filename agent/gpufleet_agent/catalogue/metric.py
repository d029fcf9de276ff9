"""What a metric is: its unit, its kind, how often it is read, how it is stored and rolled up."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal


class Reason(enum.IntEnum):
    """Why a value is absent. The number is its offset from the lowest integer of the metric's width."""

    UNSUPPORTED = 0
    NO_PERMISSION = 1
    FAILED = 2
    IMPLAUSIBLE = 3
    LOST = 4
    NOT_OBSERVED = 5

    @property
    def word(self) -> str:
        """The reason as the API and the screen show it, such as `no permission`."""
        return self.name.lower().replace("_", " ")


# Room for reasons to come: no valid value is ever stored this close to the lowest integer.
RESERVED = 16


class Kind(enum.Enum):
    """How a metric's values relate to time."""

    GAUGE = "gauge"
    INCREMENT = "increment"
    STATE = "state"


class Cadence(enum.Enum):
    """When a metric is sent: in every sample, or only when it changed."""

    EVERY_SAMPLE = "every sample"
    ON_CHANGE = "on change"


class Rollup(enum.Enum):
    """How samples become one value over a longer time."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    LAST = "last"
    ANY = "any"


class Unit(enum.Enum):
    """A unit: what the screen shows, and Prometheus' base unit with the factor to reach it."""

    PERCENT = ("%", "ratio", Fraction(1, 100))
    BYTE = ("B", "bytes", Fraction(1))
    WATT = ("W", "watts", Fraction(1))
    JOULE = ("J", "joules", Fraction(1))
    CELSIUS = ("°C", "celsius", Fraction(1))
    MEGAHERTZ = ("MHz", "hertz", Fraction(1_000_000))
    COUNT = ("", "", Fraction(1))
    FLAG = ("yes/no", "", Fraction(1))
    FLAGS = ("flags", "", Fraction(1))
    LEVEL = ("level", "", Fraction(1))

    @property
    def symbol(self) -> str:
        """What stands behind a number on the screen."""
        return self.value[0]

    @property
    def prometheus(self) -> str:
        """The suffix of a Prometheus name; empty for plain numbers."""
        return self.value[1]

    @property
    def prometheus_factor(self) -> Fraction:
        """Multiply a value by this to have it in Prometheus' base unit."""
        return self.value[2]


Width = Literal[2, 4, 8]


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of the catalogue.

    A value `v` in `unit` is stored as the integer `v / step`, `width` bytes wide, signed, little-endian on the
    wire. The lowest integers of that width stand for an absent value and its `Reason`. `of_partitions`: a partition
    of a GPU may have it too.
    """

    name: str
    unit: Unit
    kind: Kind
    cadence: Cadence
    step: Fraction
    width: Width
    rollup: Rollup
    help: str
    flags: tuple[tuple[int, str], ...] = ()
    of_partitions: bool = False
    lowest: int = field(init=False)
    highest: int = field(init=False)
    # The step's two halves: a Fraction gives them too slowly for what is done hundreds of times a second.
    _up: int = field(init=False, repr=False)
    _down: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bits = 8 * self.width - 1
        object.__setattr__(self, "_up", self.step.denominator)
        object.__setattr__(self, "_down", self.step.numerator)
        object.__setattr__(self, "lowest", -(1 << bits))
        object.__setattr__(self, "highest", (1 << bits) - 1)

    def store(self, value: float) -> int:
        """The stored integer of `value` in `unit`, rounded half up; out of range is stored as implausible."""
        up, down = self._up, self._down
        if isinstance(value, int):
            stored = value * up if down == 1 else (2 * value * up + down) // (2 * down)
        else:
            # NaN and infinities fail the comparison; they never reach int().
            scaled = value * up / down
            stored = int(scaled + 0.5) if 0 <= scaled <= self.highest else _round_signed(scaled, self.lowest)
        return stored if self.lowest + RESERVED <= stored <= self.highest else self.absent(Reason.IMPLAUSIBLE)

    def absent(self, reason: Reason) -> int:
        """The stored integer that says the value is absent, and why."""
        return self.lowest + reason

    def reason(self, stored: int) -> Reason | None:
        """Why the value is absent, or None where it is present. ValueError for a reserved code."""
        offset = stored - self.lowest
        return Reason(offset) if 0 <= offset < RESERVED else None

    def value(self, stored: int) -> float | int | None:
        """The value in `unit`, or None where it is absent. An int where the step is whole."""
        if stored < self.lowest + RESERVED:
            return None
        up, down = self.step.numerator, self.step.denominator
        return stored * up if down == 1 else stored * up / down

    def flag_names(self, stored: int) -> list[str]:
        """The names of the bits that are set, for a metric of flags; unknown bits as `bit N`."""
        known = dict(self.flags)
        bits = (1 << n for n in range(stored.bit_length()))
        return [known.get(bit, f"bit {bit.bit_length() - 1}") for bit in bits if stored > 0 and stored & bit]


def _round_signed(scaled: float, lowest: int) -> int:
    return int(scaled - 0.5) if lowest <= scaled < 0 else lowest + Reason.IMPLAUSIBLE
