"""What people call the tables of the store; those that are not here are called as they are."""

TITLES = {
    "recent": "samples, not sealed",
    "sealed": "samples, sealed",
    "usage_recent": "usage, not folded",
    "usage": "usage intervals",
    "usage_daily": "usage a day and node",
    "usage_fleet": "usage a day",
    "usage_fleet_hours": "usage an hour",
    "usage_six_hours": "usage six hours",
    "usage_weeks": "usage a week",
    "usage_kind_hours": "usage by kind an hour",
    "usage_kind_days": "usage by kind a day",
    "usage_waste_hours": "worst workloads an hour",
    "usage_waste_days": "worst workloads a day",
    "holders": "holders of GPUs",
}


def title(table: str) -> str:
    """What people call a table."""
    return TITLES.get(table, table.replace("_", " "))
