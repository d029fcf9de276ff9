"""The whole path: driver, agent, server, store, screen, as real processes."""
