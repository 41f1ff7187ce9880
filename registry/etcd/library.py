"""Import etcd3-py and aiohttp for `registry.etcd.transport`, without two things that we never use.

etcd3-py's blocking client imports `requests`, with urllib3 and tables of charsets; aiohttp makes two default TLS
contexts, each of which reads every certificate of the system (ours are made by `tls`, where an endpoint speaks
TLS). Together they are nearly half of the import: 60 of 137 ms and 6 of 41 MiB, for each command and each daemon.
So while this thread imports the libraries, `requests` is an empty module, unless somebody has imported it already,
and contexts read no certificates. When the libraries have changed so that this fails, they are imported as usual:
only time is lost. docs/adr/0005-etcd-client.md says what was measured and what else was tried.
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


def load() -> None:
    """Import the libraries. Importing them by name afterwards costs nothing."""
    if "etcd3" in sys.modules:
        return
    try:
        with _empty_requests(), _no_certificates():
            _import()
    except Exception as error:  # noqa: BLE001 - whatever it is, the plain import tells it better
        log.debug("importing etcd3-py as usual: %s", error)
        for name in [each for each in sys.modules if each.partition(".")[0] == "etcd3"]:
            del sys.modules[name]  # it would keep the empty module
        _import()


def _import() -> None:
    importlib.import_module("aiohttp")
    importlib.import_module("etcd3.aio_client")


@contextmanager
def _empty_requests() -> Iterator[None]:
    """Let `import requests` give a module with no more than the names that etcd3-py takes from it."""
    if "requests" in sys.modules:
        yield
        return
    requests, exceptions = ModuleType("requests"), ModuleType("requests.exceptions")
    vars(requests).update(exceptions=exceptions, ConnectionError=OSError)
    vars(exceptions).update(ChunkedEncodingError=OSError)
    modules = {module.__name__: module for module in (requests, exceptions)}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextmanager
def _no_certificates() -> Iterator[None]:
    """Let contexts that this thread makes trust nobody: no certificate is good enough for them."""
    context, thread = ssl.SSLContext, threading.get_ident()
    read = context.set_default_verify_paths

    def skip(self: ssl.SSLContext) -> None:
        if threading.get_ident() != thread:
            read(self)

    context.set_default_verify_paths = skip  # type: ignore[method-assign]  # inherited: goes with `del`
    try:
        yield
    finally:
        del context.set_default_verify_paths


load()
