"""The files of a run folder."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from emotion_train.errors import RunError
from emotion_train.folder_lock import is_empty, lock_folder


@dataclass(frozen=True)
class RunFolder:
    """The paths of the files of a run.

    Attributes:
        path: The run folder.
    """

    path: Path

    @classmethod
    def of(cls, path: Path) -> RunFolder:
        """Return the run folder that `path` is, or in which the checkpoint `path` is."""
        return cls(path if path.is_dir() else path.parent)

    @property
    def record(self) -> Path:
        """Return the path of the run's settings."""
        return self.path / "run.json"

    @property
    def best_checkpoint(self) -> Path:
        """Return the path of the checkpoint of the best epoch."""
        return self.path / "best.pt"

    @property
    def last_checkpoint(self) -> Path:
        """Return the path of the checkpoint to resume from."""
        return self.path / "last.pt"

    @property
    def history(self) -> Path:
        """Return the path of the table with one row per epoch."""
        return self.path / "history.csv"

    @property
    def tensorboard(self) -> Path:
        """Return the folder of the event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """Return the folder of the report."""
        return self.path / "report"

    @property
    def metrics(self) -> Path:
        """Return the path of the report's figures."""
        return self.report / "metrics.json"

    @property
    def report_text(self) -> Path:
        """Return the path of the report in Markdown."""
        return self.report / "report.md"

    @property
    def splits(self) -> Path:
        """Return the path of the list of pictures with their splits."""
        return self.report / "splits.csv"

    @property
    def rate_table(self) -> Path:
        """Return the path of the table of a learning-rate range test."""
        return self.path / "learning_rate.csv"

    @property
    def rate_picture(self) -> Path:
        """Return the path of the picture of a learning-rate range test."""
        return self.path / "learning_rate.png"

    def check_new(self, *, overwrite: bool) -> None:
        """Check that a new run may be written here.

        Raises:
            RunError: The path is a file, or a folder that is not empty without `overwrite`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: a file, not a folder to write a run to.")
        if self.path.is_dir() and not is_empty(self.path) and not overwrite:
            raise RunError(
                f"{self.path}: not empty; choose another folder with -o, continue the run with "
                f"--resume, or replace it with --overwrite."
            )

    def check_new_range_test(self, *, overwrite: bool) -> None:
        """Check that the result of a learning-rate range test may be written here.

        Raises:
            RunError: The path is a file, or the result of a range test exists without `overwrite`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: a file, not a folder to write the curve to.")
        if not overwrite and (self.rate_table.exists() or self.rate_picture.exists()):
            raise RunError(
                f"{self.path}: holds a learning-rate search already; choose another folder with "
                f"-o, or replace its files with --overwrite."
            )

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which no other process can train here, see `lock_folder`."""
        return lock_folder(
            self.path,
            f"{self.path}: another emotion-train is training in this folder; wait for it to end, "
            f"or choose another folder with -o.",
        )

    def remove_run(self) -> None:
        """Remove the files of an earlier run; leave other files alone."""
        for file in (self.record, self.history, self.best_checkpoint, self.last_checkpoint):
            file.unlink(missing_ok=True)
        for folder in (self.report, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
