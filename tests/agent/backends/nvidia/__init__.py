"""Tests of the NVIDIA backend, in front of the simulated driver."""
