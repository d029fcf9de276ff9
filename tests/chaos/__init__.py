"""Everything is killed and cut at random, under load; afterwards every sample and event is there, once."""
