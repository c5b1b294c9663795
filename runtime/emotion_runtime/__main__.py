"""``python -m emotion_runtime``, where scripts are not on the path."""

from emotion_runtime.cli import main

main(prog_name="emotion-infer")
