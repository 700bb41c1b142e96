"""The fuzz bench: mutated inputs for everything that reads bytes from outside; `python -m tests.fuzz` runs it."""
