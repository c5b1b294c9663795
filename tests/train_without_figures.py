"""``python -m train_without_figures``: emotion-train without the figures of its report."""

from __future__ import annotations

import shortcuts
from emotion_train.__main__ import run

if __name__ == "__main__":
    with shortcuts.blank_figures():
        run()
