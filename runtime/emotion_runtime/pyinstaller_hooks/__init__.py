"""Hooks for PyInstaller, which it finds through the entry point ``pyinstaller40``.

They add what PyInstaller cannot see in the code: the released models with their checksums, the
face detector, the font, the templates of the export, and modules that are imported by name. Each
package has a hook of its own, so that a build has only the files of the packages that it uses.
"""

from __future__ import annotations


def get_hook_dirs() -> list[str]:
    """Return the folder of the hooks."""
    return [*__path__]
