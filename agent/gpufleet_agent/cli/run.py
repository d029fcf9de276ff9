"""`gpufleet-agent run`: the agent in the foreground, its log on stderr."""

from __future__ import annotations

import logging

from gpufleet_agent.config import Config, ConfigError
from gpufleet_agent.log import set_up_log
from gpufleet_agent.runtime.agent import Agent, Refused
from gpufleet_agent.runtime.vendors import AnyVendor

NOTHING_TO_DO = "there is nothing to do: give --server, --metrics-listen or both"


def is_idle(config: Config) -> bool:
    """Whether these settings give an agent nothing to do."""
    return config.server is None and config.metrics_listen is None


def run(config: Config) -> int:
    """Run until told to stop. The exit code."""
    if is_idle(config):
        raise ConfigError(NOTHING_TO_DO)
    set_up_log(config.log_level, config.log_format)
    try:
        return Agent(config, AnyVendor()).run()
    except Refused as error:
        logging.getLogger("gpufleet_agent").error("%s", error)
        return 1
