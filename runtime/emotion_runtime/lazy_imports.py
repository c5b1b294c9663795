"""A lock for imports at first use, which keeps a fork from happening during an import.

If a process is forked while another thread imports a module, the child inherits that module's
import lock in the locked state, and would wait for it forever.
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
