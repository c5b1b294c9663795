"""``python -m emotion_train``, which torchrun can start by ``-m``."""

from emotion_train.cli import main

main(prog_name="emotion-train")
