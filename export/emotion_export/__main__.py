"""``python -m emotion_export``, where scripts are not on the path."""

from emotion_export.cli import main

main(prog_name="emotion-export")
