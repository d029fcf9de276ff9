"""What can be wrong with a store before anything is asked of it."""


class StoreError(Exception):
    """A store that can't be opened or used; the message says what to change."""
