"""`gpufleet-agent run`: the agent in the foreground, its log on stderr."""

from __future__ import annotations

import logging
import sys
import time

from gpufleet_agent.config import Config, ConfigError
from gpufleet_agent.runtime.agent import Agent, Refused
from gpufleet_agent.runtime.vendors import AnyVendor


def run(config: Config) -> int:
    """Run until told to stop. The exit code."""
    if config.server is None and config.metrics_listen is None:
        raise ConfigError("there is nothing to do: give --server, --metrics-listen or both")
    set_up_log(config.log_level)
    try:
        return Agent(config, AnyVendor()).run()
    except Refused as error:
        logging.getLogger("gpufleet_agent").error("%s", error)
        return 1


def set_up_log(level: str) -> None:
    """One line a fact on stderr, in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
