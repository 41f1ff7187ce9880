"""What the agent wants to know of a unit file, read once for each text however often it is asked.

Owns the memory of what was read, by the text's hash, and keeps the event loop free of large files: one may have a
million lines, and reading those takes a second.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from hashlib import sha256
from typing import Any

from agentd.pure.file_facts import FileFacts, Reading, read_facts
from registry.units.hostreach import links
from registry.units.name import is_quadlet

KEPT = 256
LARGE = 1 << 15  # characters; less is read in a few milliseconds


class FileReader:
    """Reads unit files; one that is too large says nothing. The instances of a template share a text."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], FileFacts] = OrderedDict()
        self._texts: OrderedDict[str, Reading] = OrderedDict()
        self._one = asyncio.Lock()  # large text at a time: many at once keep the loop from its turns
        self.count = 0  # texts read, for those who measure

    async def read(self, name: str, text: str) -> FileFacts:
        """The facts; a large file is read beside the loop."""
        key = _key(name, text)
        if key in self._known or len(text) <= LARGE:
            return self._named(key, text)
        async with self._one:
            if key[1] not in self._texts:
                self._keep(key[1], await asyncio.to_thread(read_facts, text))
            return self._named(key, text)

    def read_now(self, name: str, text: str) -> FileFacts:
        """The facts, for those who cannot wait."""
        return self._named(_key(name, text), text)

    def _named(self, key: tuple[str, str], text: str) -> FileFacts:
        name, sha256_hex = key
        if key not in self._known:
            if sha256_hex not in self._texts:
                self._keep(sha256_hex, read_facts(text))
            facts, install = self._texts[sha256_hex]
            installs = facts.installs and not is_quadlet(name)  # of a Quadlet, Podman's generator does that
            self._known[key] = replace(facts, installs=installs, links=links(install, name))
            _shorten(self._known)
        self._known.move_to_end(key)
        return self._known[key]

    def _keep(self, sha256_hex: str, reading: Reading) -> None:
        self.count += 1
        self._texts[sha256_hex] = reading
        _shorten(self._texts)


def _shorten(memory: OrderedDict[Any, Any]) -> None:
    while len(memory) > KEPT:
        memory.popitem(last=False)


def _key(name: str, text: str) -> tuple[str, str]:
    return name, sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
