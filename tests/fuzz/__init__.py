"""Fuzzing: mutated files of every kind that may come from a stranger. See `fuzz.__main__`."""
