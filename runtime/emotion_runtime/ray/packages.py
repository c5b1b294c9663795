"""Import Ray and Arrow, or raise an error that names the command to install them."""

from __future__ import annotations

try:
    import pyarrow as pa
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq
    import ray
    import ray.data
except ImportError as error:
    from emotion_runtime.command_line.extras import format_missing_message

    text = format_missing_message("emotion_runtime.ray", str(error.name), "ray")
    raise ImportError(text, name=error.name) from error

__all__ = ["pa", "pafs", "pq", "ray"]
