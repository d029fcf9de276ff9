"""`gpufleet-agent run` that samples and reports more often than the settings allow: what an hour does, in minutes.

`python -m tests.bench.fast_agent SECONDS run-options…`: SECONDS between samples, ten of which make a report.
"""

import sys
from dataclasses import replace

from gpufleet_agent.cli.run import run
from gpufleet_agent.config import load
from gpufleet_agent.runtime import agent, collector
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Record


class Collector(collector.Collector):
    """Says that it samples each second: a server takes no report of who samples much more often."""

    def _begin(self, record: Record | None = None) -> Draft:
        draft = super()._begin(record)
        draft._begun.interval = 1000
        return draft


def main(interval: float, *settings: str) -> int:
    """Run until told to stop; settings are key=value."""
    collector.REPORT_SECONDS = 10 * interval
    vars(agent)["Collector"] = Collector
    config = load(dict(setting.split("=", 1) for setting in settings), {})
    return run(replace(config, interval=interval))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *sys.argv[2:]))
