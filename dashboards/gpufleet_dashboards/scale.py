"""What colours and words values have: thresholds, and mappings of single values."""

from dataclasses import dataclass

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
BLUE, GREY, PURPLE = "blue", "#8e8e8e", "purple"
# As words are, whatever the theme.
TEXT = "text"

# What a GPU does, everywhere in the same colours.
USE_COLOURS = {"active": GREEN, "held": ORANGE, "free": BLUE, "unknown": GREY}
# What state a GPU, or a node, is in.
STATE_COLOURS = {
    "reporting": GREEN, "in_maintenance": YELLOW, "lost": RED, "driver_failed": PURPLE, "not_reporting": GREY,
    "removed": GREY,
}  # fmt: skip
SEVERITY_COLOURS = {"critical": RED, "warning": ORANGE, "info": BLUE}


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, this colour; `at` None: from the lowest."""

    at: float | None
    colour: str


def steps(lowest: str, *above: tuple[float, str]) -> tuple[Step, ...]:
    """Colours from the lowest value up: `steps(GREEN, (80, ORANGE), (90, RED))`."""
    if [at for at, _ in above] != sorted(at for at, _ in above):
        raise ValueError("thresholds go up")
    return (Step(None, lowest), *(Step(at, colour) for at, colour in above))


@dataclass(frozen=True, slots=True)
class Value:
    """How one value is shown: its word and its colour."""

    value: str | float
    text: str
    colour: str


def words(colours: dict[str, str]) -> tuple[Value, ...]:
    """Texts as they are, in colours."""
    return tuple(Value(word, word, colour) for word, colour in colours.items())


def numbered(colours: dict[str, str]) -> tuple[Value, ...]:
    """Words for 0, 1, 2 and so on, in colours: state timelines are drawn of numbers."""
    return tuple(Value(number, word, colour) for number, (word, colour) in enumerate(colours.items()))


def written(value: str | float) -> str:
    """A value as the key of a mapping."""
    return f"{value:.15g}" if isinstance(value, int | float) else value
