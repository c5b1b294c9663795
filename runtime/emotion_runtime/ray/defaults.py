"""Defaults of runs on a cluster, for the command and for Python; importing it needs no Ray."""

from __future__ import annotations

FORMATS = ("parquet", "jsonl", "csv")
PARTITION_SIZE = 2000  # pictures
