"""A lock around imports at first use, which a fork must not interrupt.

A child that is forked while another thread imports a module inherits the module's lock, locked, and
would wait for it for ever when it needs the module itself.
"""

from __future__ import annotations

import os
import threading

IMPORT_LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=IMPORT_LOCK.acquire,
        after_in_parent=IMPORT_LOCK.release,
        after_in_child=IMPORT_LOCK.release,
    )
