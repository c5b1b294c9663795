"""Fuzzing with mutated files of every kind that may be untrusted; see `fuzz.__main__`."""
