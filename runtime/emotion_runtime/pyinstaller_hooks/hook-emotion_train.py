"""The networks, which are imported by name, and the checkpoints that a training starts from."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("emotion_train")
datas += collect_data_files("emotion_models", includes=["checkpoints/*"])
hiddenimports = collect_submodules("emotion_train.networks")
