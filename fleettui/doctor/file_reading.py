"""Reading who else may read or write the files on this host that let one into the registry."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from fleettui.access.authority import SIGNING
from fleettui.doctor.facts import SecretFile
from registry.errors import CredentialsUnusable
from registry.etcd import EtcdSettings
from registry.etcd.credentials import OTHERS, check_private


def secret_files(settings: EtcdSettings, source: str) -> Iterator[SecretFile]:
    """Yield the configuration `source`, password, key and authority, with what is wrong with their modes."""
    if source:
        try:
            mode = stat.S_IMODE(Path(source).stat().st_mode)
        except OSError:
            mode = 0
        loose = mode & (stat.S_IWGRP | stat.S_IWOTH)
        problem = f"{source} says where the registry is, and others may write it: its mode is {mode:04o}"
        yield SecretFile(source, problem if loose else "", f"chmod go-w {source}")
    for option, path in (("etcd.password_file", settings.password_file), ("etcd.key_file", settings.key_file)):
        if path:
            try:
                check_private(path, option)
            except CredentialsUnusable as error:
                problem, _, remedy = str(error).partition("; run: ")
                yield SecretFile(path, problem, remedy or "mend the file, or the option")
            else:
                yield SecretFile(path)
    if settings.ca_file:
        own = Path(settings.ca_file).parent / SIGNING
        if own.is_file():  # it is elsewhere, as it should be on a machine, or it is the fleet's authority
            mode = stat.S_IMODE(own.stat().st_mode)
            problem = f"{own} is the key of the fleet's authority, and others may read it: its mode is {mode:04o}"
            yield SecretFile(str(own), problem if mode & OTHERS else "", f"chmod 600 {own}")
