"""The boards: a module each, with a constant BOARD. They are found by looking through this package."""
