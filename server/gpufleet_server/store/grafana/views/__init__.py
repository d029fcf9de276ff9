"""The views: a module each, named as its view, with a constant VIEW. They are found by looking through this package."""
