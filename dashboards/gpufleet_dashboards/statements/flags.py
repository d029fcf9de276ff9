"""Metrics of flags in SQL: a bit by its name in the catalogue."""

from gpufleet_agent.catalogue import BY_NAME, Metric


def bit(metric: Metric, name: str) -> int:
    """The bit of a flag. KeyError where the metric has none of that name."""
    return {word: bit for bit, word in metric.flags}[name]


# What holds the clocks down, from what is as it should be to what is not: bits by what they come to.
_LEVELS = {
    3: ("hardware slowdown", "hardware thermal slowdown", "hardware power brake slowdown"),
    2: ("software thermal slowdown",),
    1: ("software power cap",),
}
REASONS = BY_NAME["clock_event_reasons"]


def bits(level: int) -> int:
    """The bits of clock event reasons that come to a level of `held_down`, together."""
    return sum(bit(REASONS, name) for name in _LEVELS[level])


def held_down(reasons: str) -> str:
    """What held the clocks down, by SQL for clock event reasons: 0 nothing, 1 power cap, 2 heat, 3 the hardware."""
    cases = " ".join(f"WHEN {reasons} & {bits(level)} <> 0 THEN {level}" for level in _LEVELS)
    return f"CASE {cases} WHEN {reasons} IS NOT NULL THEN 0 END"


def faults() -> dict[str, int]:
    """The reasons that are heat's or the hardware's, by name: a power cap is what a busy GPU runs into."""
    return {name: bit(REASONS, name) for level in (3, 2) for name in _LEVELS[level]}
