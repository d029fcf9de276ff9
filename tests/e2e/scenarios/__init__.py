"""What an operator sees when a driver goes wrong: the real agent, the real server, time that a test moves."""
