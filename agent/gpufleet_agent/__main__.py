"""`python -m gpufleet_agent` is `gpufleet-agent`."""

import sys

from gpufleet_agent.cli import main

sys.exit(main())
