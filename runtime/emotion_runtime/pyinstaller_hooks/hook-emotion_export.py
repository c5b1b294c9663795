"""The web page, the report's template, and the modules that the package imports by name."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("emotion_export")
hiddenimports = collect_submodules("emotion_export")
