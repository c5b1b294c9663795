"""The released models, SHA256SUMS, the detector and the cards; see hook-emotion_train for more."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("emotion_models", excludes=["checkpoints/*"])
