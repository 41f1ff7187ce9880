"""Importing etcd3-py without what it brings along: in interpreters of their own, as imports happen once."""

from __future__ import annotations

import ssl
import subprocess
import sys

from registry.etcd import tls
from registry.etcd.endpoint import EtcdSettings


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_nobody_uses_is_not_imported() -> None:
    assert (
        python(
            "import sys, registry.etcd.transport as t\n"
            "unused = ('requests', 'urllib3')\n"
            "print([name for name in unused if name in sys.modules], t.AioClient.__name__)"
        )
        == "[] AioClient\n"
    )


def test_the_real_modules_are_there_for_whoever_wants_them_afterwards() -> None:
    assert (
        python(
            "import registry.etcd.transport, ssl, requests\n"
            "from importlib.metadata import version\n"
            "patched = 'set_default_verify_paths' in vars(ssl.SSLContext)\n"
            "print(requests.Session.__name__, bool(version('aiohttp')), patched)"
        )
        == "Session True False\n"
    )


def test_modules_that_are_there_already_are_left_alone() -> None:
    assert (
        python("import requests, registry.etcd.transport, etcd3.client as c; print(c.requests is requests)")
        == "True\n"
    )


def test_a_library_that_wants_more_is_imported_as_usual() -> None:
    assert (
        python(
            "import sys, importlib, registry\n"
            "find = importlib.import_module\n"
            "def broken(name):\n"
            "    if name == 'etcd3.aio_client' and 'requests' in sys.modules:\n"
            "        vars(sys.modules['requests']).clear()\n"
            "    return find(name)\n"
            "importlib.import_module = broken\n"
            "import registry.etcd.library\n"
            "importlib.import_module = find\n"
            "import etcd3.client, registry.etcd.transport\n"
            "print(etcd3.client.requests.Session.__name__)"
        )
        == "Session\n"
    )


def test_tls_without_a_ca_file_trusts_the_systems_authorities() -> None:
    found = tls.TlsFiles(EtcdSettings(("https://127.0.0.1:1",))).context()
    assert isinstance(found, ssl.SSLContext)
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.get_ca_certs() == ssl.create_default_context().get_ca_certs()


def test_no_context_is_made_without_tls() -> None:
    assert tls.TlsFiles(EtcdSettings(("http://127.0.0.1:1",))).context() is True
