"""Bodies of every released protocol version, kept to be decoded for ever."""
