"""Simulated nodes: a pure model of GPUs, and agents that report it over real HTTP."""
