"""The running agent: a reader process on the driver, and a parent that keeps and pushes what it reads."""
