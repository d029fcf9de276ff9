"""`gpufleet-agent run` that finds the host's files below a folder: `python -m tests.e2e.rooted ROOT run OPTIONS…`."""

import sys
from pathlib import Path

from gpufleet_agent.cli import main
from gpufleet_agent.cli import run as command
from gpufleet_agent.config import Config
from gpufleet_agent.log import set_up_log
from gpufleet_agent.runtime.agent import Agent
from gpufleet_agent.runtime.vendors import AnyVendor


def run_below(root: Path, config: Config) -> int:
    """The agent of that host, until a signal comes."""
    set_up_log(config.log_level, config.log_format)
    return Agent(config, AnyVendor(), root).run()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    command.run = lambda config: run_below(folder, config)
    sys.exit(main(sys.argv[2:]))
