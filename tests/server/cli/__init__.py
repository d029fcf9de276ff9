"""The command line, through its runner and as real processes."""
