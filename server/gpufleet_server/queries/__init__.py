"""What is asked of the store, as selects and typed rows."""
