"""The font, and the modules that the package imports by name when they are first needed."""

from PyInstaller.utils.hooks import collect_data_files

from emotion_runtime import _MODULE_BY_NAME

datas = collect_data_files("emotion_runtime")
hiddenimports = sorted({f"emotion_runtime.{module}" for module in _MODULE_BY_NAME.values()})
