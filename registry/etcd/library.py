"""etcd3-py and aiohttp, imported without what they bring along and we never use, for `registry.etcd.transport`.

Owns that one import. A command lives for a third of a second, and a third of the import would go into: `requests`
with urllib3 and charset tables (for etcd3-py's blocking client), `importlib.metadata` (for the version of
semantic_version), and aiohttp's default TLS contexts, which read every certificate of the system twice (ours are
made by `transport` where an endpoint speaks TLS). The modules are replaced by stand-ins for the time of the
import, unless somebody has imported them already; the contexts stay without certificates. When the libraries have
changed so that this does not work, they are imported as usual: nothing but time is lost.
"""

from __future__ import annotations

import importlib
import logging
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

log = logging.getLogger("fleet.etcd")

BOUND = ("etcd3", "semantic_version")  # what would keep a stand-in for ever


def load() -> None:
    """Import the libraries, lean if possible. Importing them by name afterwards costs nothing."""
    if "etcd3" in sys.modules:
        return
    try:
        with _stand_ins():
            _import()
    except Exception as error:  # noqa: BLE001 - whatever it is, the plain import tells it better
        log.debug("importing etcd3-py as usual: %s", error)
        _forget()
        _import()


def _import() -> None:
    for name in ("aiohttp", "semantic_version", "etcd3.aio_client"):
        importlib.import_module(name)


def _forget() -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] in BOUND]:
        del sys.modules[name]


@contextmanager
def _stand_ins() -> Iterator[None]:
    modules = {each.__name__: each for each in _modules() if each.__name__ not in sys.modules}
    sys.modules.update(modules)
    context, thread = ssl.SSLContext, threading.get_ident()
    read = context.set_default_verify_paths

    def spare(self: ssl.SSLContext) -> None:
        """Let the contexts that aiohttp makes while it is imported trust nobody: no certificate is good enough."""
        if threading.get_ident() != thread:
            read(self)

    context.set_default_verify_paths = spare  # type: ignore[method-assign]  # inherited: goes with `del`
    try:
        yield
    finally:
        del context.set_default_verify_paths
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _modules() -> Iterator[ModuleType]:
    """What etcd3-py and semantic_version take from these modules while they are imported."""
    requests, exceptions = ModuleType("requests"), ModuleType("requests.exceptions")
    for name in ("ConnectionError", "ChunkedEncodingError"):
        error = type(name, (OSError,), {})
        setattr(requests, name, error)
        setattr(exceptions, name, error)
    setattr(requests, "exceptions", exceptions)  # noqa: B010 - a module's type knows no such name
    metadata = ModuleType("importlib.metadata")
    setattr(metadata, "version", lambda _distribution: "")  # noqa: B010 - the same
    yield from (requests, exceptions, metadata)


load()
