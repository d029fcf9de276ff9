"""Writes the pages that are generated: metrics from the catalogue, alert rules and runbooks, views for Grafana."""

from pathlib import Path

from gpufleet_agent.catalogue import METRICS, Metric
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.pages import rules_page, runbook_page
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import View

HEAD = """# Metrics

Generated from the catalogue (`agent/gpufleet_agent/catalogue/`) by `make docs`: do not edit.

A value is stored as a whole number of *steps*, in the given number of *bytes*. *Every sample* metrics are in every
sample; *on change* metrics are read about once a minute and stored when they changed. A gauge is a reading (a mean
over the interval where the hardware accumulates), an increment is what was added in the interval, a state holds until
the next one. A value that is absent is null with a reason (unsupported, no permission, failed, implausible, lost, not
observed), never 0. Those marked *MIG* are of partitions too: there a percentage is of the partition
([what that comes to](mig.md)). Of a GPU in MIG mode `sm_active`, `sm_occupancy` and the activity of the pipes are those
of its partitions, each by its share of the GPU.

| metric | unit | kind | cadence | rolls up as | step | bytes | MIG | what it is |
|---|---|---|---|---|---|---|---|---|
"""

VIEWS = """# Views for Grafana

Generated from `server/gpufleet_server/store/grafana/` by `make docs`: do not edit.

On PostgreSQL the schema `grafana` holds these views and nothing else; `gpufleet db migrate` and `gpufleet serve` make
them. A role that may read them is made by [`gpufleet db grant-reader`](operating.md#a-role-for-grafana). Views and
columns are only added; to take one away is a breaking change of the release notes.

* Filter by `at` (µs since the epoch, as `extract(epoch FROM …) * 1000000`), which indices know, and show `ts`, which is
  the same; where rows are of an interval it is its beginning. Views with `span` lie in blocks: filter by that too, from
  the length of a block before the first time to the last one.
* A value that is absent is NULL, never 0. No site, model and the like is `(none)`, so that variables can choose it.
* Of the fleet, means are kept as `…_sum` and `…_seconds`: of any group of rows the mean is
  `sum(power_sum) / sum(power_seconds)`.
* `node_uuid` tells nodes from each other, `gpu` GPUs; `node` is to be shown.
"""


def row(metric: Metric) -> str:
    """One metric as a line of the table."""
    cells = (
        f"`{metric.name}`",
        metric.unit.symbol,
        metric.kind.value,
        metric.cadence.value,
        metric.rollup.value,
        str(metric.step),
        str(metric.width),
        "MIG" if metric.of_partitions else "",
        metric.help,
    )
    return "| " + " | ".join(cells) + " |"


def flags(metric: Metric) -> str:
    """The bits of a metric of flags, as a section of its own."""
    bits = "\n".join(f"| `{bit:#x}` | {name} |" for bit, name in metric.flags)
    return f"\n## `{metric.name}` by bit\n\n| bit | meaning |\n|---|---|\n{bits}\n"


def metrics_page() -> str:
    """The whole page."""
    table = "\n".join(row(metric) for metric in METRICS) + "\n"
    return HEAD + table + "".join(flags(metric) for metric in METRICS if metric.flags)


def view_section(view: View) -> str:
    """One view with its columns."""
    lines = [f"| `{each.name}` | {each.type} | {each.symbol} | {each.help} |" for each in view.columns]
    span = f" Blocks are of {view.span // 3_600_000_000} h." if view.span else ""
    table = "\n".join(("| column | type | unit | what it is |", "|---|---|---|---|", *lines))
    return f"\n## `{view}`\n\n{view.help}{span}\n\n{table}\n"


def views_page() -> str:
    """The page of all views."""
    return VIEWS + "".join(view_section(view) for view in every_view().values())


def pages() -> dict[str, str]:
    """All pages: path below docs/ → text."""
    rules = every_rule()
    runbooks = {f"runbooks/{name}.md": runbook_page(rule) for name, rule in rules.items()}
    return {
        "metrics.md": metrics_page(),
        "alert-rules.md": rules_page(rules),
        "grafana-views.md": views_page(),
        **runbooks,
    }


def write(folder: Path) -> None:
    """Write them all, and remove runbooks of rules that there are not."""
    found = pages()
    (folder / "runbooks").mkdir(exist_ok=True)
    for name, text in found.items():
        (folder / name).write_text(text)
    for old in folder.glob("runbooks/*.md"):
        if f"runbooks/{old.name}" not in found:
            old.unlink()


if __name__ == "__main__":
    write(Path(__file__).parent)
