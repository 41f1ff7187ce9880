"""Import argparse without gettext, which looks for translations that nobody has, by modules that take their time.

What argparse says is read by `arguments`, so it has to stay in English, too.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def load() -> None:
    """Import it, unless somebody has. Importing it by name afterwards costs nothing."""
    if "argparse" in sys.modules or "gettext" in sys.modules:
        return
    gettext = ModuleType("gettext")
    vars(gettext).update(gettext=lambda text: text, ngettext=lambda one, many, count: one if count == 1 else many)
    sys.modules["gettext"] = gettext
    try:
        importlib.import_module("argparse")
    finally:
        del sys.modules["gettext"]


load()
