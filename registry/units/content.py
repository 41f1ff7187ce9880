"""What a config or a secret holds: its files and variables, their limits, and the text that is stored of them.

The text names what it belongs to, so that two names never share one, and the same content is always the same text.
Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from registry.errors import UserError
from registry.frozen import dataclass, field, replace
from registry.units.name import shown

MAX_BYTES = 1 << 20  # of a content as stored: etcd refuses requests over 1.5 MB
MAX_FILES, MAX_VARIABLES = 1000, 1000
MAX_PATH, MAX_DEPTH = 1024, 8
MAX_SECRET = 64 << 10  # bytes; systemd takes up to 1 MiB of credentials for a unit

SEALED_STEP, LENGTH_BYTES = 256, 4  # what is sealed begins with its length, and is filled up to a multiple
BEYOND = 48  # bytes that sealing adds: a public key, and what tells whether it was changed

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # what systemd takes in no variable's value
_IN_QUOTES = re.compile(r'(["\\`$])')  # what a backslash stands before in double quotes: systemd.exec(5)


@dataclass(frozen=True, slots=True)
class ConfigContent:
    """The files, by their path below the config's directory, and the variables of one version of a config."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What is in it, in a few words."""
        counts = ((len(self.files), "file"), (len(self.variables), "variable"))
        return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts if count) or "empty"

    @property
    def environment(self) -> str:
        """The variables as a file that systemd reads, each value as it is: systemd.exec(5)."""
        quoted = ((name, _IN_QUOTES.sub(r"\\\1", value)) for name, value in sorted(self.variables.items()))
        return "".join(f'{name}="{value}"\n' for name, value in quoted)

    def with_changes(self, files: Mapping[str, bytes], variables: Mapping[str, str]) -> ConfigContent:
        """The content with these files and variables over those that it has."""
        return replace(self, files={**self.files, **files}, variables={**self.variables, **variables})

    def without(self, name: str) -> ConfigContent:
        """The content without a file or a variable. UserError when it has none of that name."""
        if name not in self.files and name not in self.variables:
            raise UserError(f"the config has no file and no variable {shown(name)}; see: fleetctl config show")
        files = {each: data for each, data in self.files.items() if each != name}
        return ConfigContent(files, {each: value for each, value in self.variables.items() if each != name})


def config_text(name: str, content: ConfigContent) -> str:
    """The text that is stored of a config's content. UserError for what may not be in one."""
    if len(content.files) > MAX_FILES or len(content.variables) > MAX_VARIABLES:
        raise UserError(f"config {name} would have {content.summary}; use at most {MAX_FILES} of each")
    for path in content.files:
        check_path(path)
    for variable, value in content.variables.items():
        check_variable(variable, value)
    for path in content.files:
        for other in (path[:at] for at, letter in enumerate(path) if letter == "/"):
            if other in content.files:
                raise UserError(f"file {shown(other)} cannot be a folder as well; give {shown(path)} another name")
    files = {path: base64.b64encode(data).decode() for path, data in sorted(content.files.items())}
    text = _text({"config": name, "files": files, "variables": dict(sorted(content.variables.items()))})
    if len(text.encode()) > MAX_BYTES:
        raise UserError(
            f"config {name} would take {len(text.encode())} bytes of the registry, which takes {MAX_BYTES};"
            " keep large files out of it"
        )
    return text


def read_config(text: str, name: str) -> ConfigContent:
    """The content that a stored text is. UserError when it is none of this config's."""
    data = _object(text, f"config {name}")
    files, variables = data.get("files"), data.get("variables")
    if data.get("config") != name or not isinstance(files, dict) or not isinstance(variables, dict):
        raise UserError(f"the content is none of config {name}; set it again")
    try:
        read = {str(check_path(path)): base64.b64decode(each, validate=True) for path, each in files.items()}
        for variable, value in variables.items():
            check_variable(variable, value)
    except (binascii.Error, TypeError, ValueError) as error:
        raise UserError(f"the content of config {name} does not parse ({error}); set it again") from error
    return ConfigContent(read, variables)


def check_path(path: str) -> str:
    """A file's path below its config's directory. UserError for one that leads elsewhere or cannot be shown."""
    parts = path.split("/")
    if not all(part and part not in (".", "..") and len(part.encode("utf-8", "replace")) <= 255 for part in parts):
        raise UserError(f"{shown(path)} is no path below a folder; leave . and .. out, and an outer /")
    if not path.isprintable() or len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise UserError(
            f"file name {shown(path)} is not usable; use printable characters, at most {MAX_PATH},"
            f" in at most {MAX_DEPTH - 1} folders"
        )
    return path


def check_variable(variable: str, value: object) -> None:
    """UserError for what is no variable of an environment, or has a value that systemd would pass over."""
    if not _VARIABLE.fullmatch(variable):
        raise UserError(f"{shown(variable)} is no name of a variable; use letters, digits and _, no digit first")
    if not isinstance(value, str) or _CONTROL.search(value):
        raise UserError(f"the value of {variable} has control characters; put it into a file (--file)")


def secret_text(name: str, key: str, sealed: bytes) -> str:
    """The text that is stored of a secret. `key` names what it is sealed for."""
    return _text({"key": key, "sealed": base64.b64encode(sealed).decode(), "secret": name})


def most_bytes(sealed: int) -> int:
    """The most bytes that a secret can have which takes so many when it is sealed."""
    return max(0, sealed - BEYOND - LENGTH_BYTES)


def read_secret(text: str, name: str) -> tuple[str, bytes]:
    """The key's name and the sealed bytes of a stored text. UserError when it is none of this secret's."""
    data = _object(text, f"secret {name}")
    try:
        key, sealed = data["key"], base64.b64decode(data["sealed"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the content of secret {name} does not parse; set it again") from error
    if data.get("secret") != name or not isinstance(key, str):
        raise UserError(f"the content is none of secret {name}; set it again")
    return key, sealed


def content_hash(text: str) -> str:
    """What a content is called: SHA-256, 64 hex digits."""
    return sha256(text.encode()).hexdigest()


def _text(data: Mapping[str, object]) -> str:
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the content of {what} does not parse; set it again") from error
    return data if isinstance(data, dict) else {}
