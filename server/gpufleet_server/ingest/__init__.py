"""Reports in, exactly once."""
