"""What a GPU was used for, in SQL over rows of samples: the same as the server tells from what is stored."""

from gpufleet_agent.catalogue import ACTIVE_FROM, ACTIVITY, BY_NAME, HOLDING, Use

# The metrics that the use is told from.
NEEDED = (*ACTIVITY, *HOLDING)


def use_of_sample() -> str:
    """The number of the Use in a row that has the metrics of NEEDED, in their units."""
    active = " OR ".join(f"{name} >= {BY_NAME[name].value(ACTIVE_FROM)}" for name in ACTIVITY)
    held = " OR ".join(f"{name} > {BY_NAME[name].value(stored)}" for name, stored in HOLDING.items())
    told, known = f"num_nonnulls({', '.join(ACTIVITY)}) > 0", f"num_nonnulls({', '.join(HOLDING)})"
    return f"""CASE WHEN {active} THEN {Use.ACTIVE.value}
WHEN ({held}) AND {told} THEN {Use.HELD.value}
WHEN ({held}) IS NOT TRUE AND {known} >= CASE WHEN {told} THEN 1 ELSE {len(HOLDING)} END THEN {Use.FREE.value}
ELSE {Use.UNKNOWN.value} END"""
