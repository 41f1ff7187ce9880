from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

from agentd.unit_directory import _SECRETIVE, UnitDirectory
from registry.errors import UserError

TEXT = "[Service]\r\nExecStart=/bin/true \N{SNOWMAN}\n\n"


def test_a_file_is_kept_to_the_byte(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path / "units")
    assert directory.write("a.service", TEXT)
    assert directory.path("a.service").read_bytes() == TEXT.encode()
    assert directory.hash("a.service") == sha256(TEXT.encode()).hexdigest()
    assert directory.units() == ("a.service",)


def test_the_same_text_is_not_written_again(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path)
    directory.write("a.service", TEXT)
    before = directory.path("a.service").stat()
    assert not directory.write("a.service", TEXT)
    assert directory.path("a.service").stat().st_mtime_ns == before.st_mtime_ns
    assert directory.write("a.service", TEXT + "#")


def test_a_file_that_may_hold_a_secret_is_its_owner_s_alone(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path)
    directory.write("open.service", TEXT)
    directory.write("secret.service", "[Service]\nEnvironment=PASSWORD=x\n")
    assert directory.path("open.service").stat().st_mode & 0o777 == 0o644
    assert directory.path("secret.service").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("[Service]\n\n  Environment = A=b\n", True),
        ("[Service]\r\tSetCredential=a:b\r", True),
        ("[Service]\nEnvironmentFile=/etc/x\n", False),
        ("[Service]\nEnvironment\\\n  = A=b\n", True),
        ("[Service]\n#Environment=A=b\nPassEnvironment=A\n", False),
    ],
)
def test_what_may_be_a_secret_is_seen_wherever_it_stands(tmp_path: Path, text: str, secret: bool) -> None:
    directory = UnitDirectory(tmp_path)
    directory.write("a.service", text)
    assert (directory.path("a.service").stat().st_mode & 0o777 == 0o600) is secret


@pytest.mark.parametrize("line", ["\n", "  \n", "\r", " ", "\t\r\n", "Environ\n", "Environmen\n\n"])
def test_a_long_file_is_looked_through_once(line: str) -> None:
    pattern = _SECRETIVE.pattern
    text = "[Service]\n" + line * 400_000  # seconds would be hours if blanks were looked at again and again
    assert not re.search(pattern, text)


def test_its_own_fragments_are_told_from_the_host_s(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path / "units")
    directory.write("a.service", TEXT)
    link = tmp_path / "a.service"
    link.symlink_to(directory.path("a.service"))
    assert directory.owns(str(link))
    assert directory.owns(str(directory.path("a.service")))
    assert not directory.owns("/lib/systemd/system/ssh.service")
    assert not directory.owns("")
    assert directory.owns(str(link), "a.service")
    assert not directory.owns(str(link), "b.service")


def test_what_is_named_like_no_unit_is_none_of_ours(tmp_path: Path) -> None:
    directory, links = UnitDirectory(tmp_path / "units"), tmp_path / "links"
    links.mkdir()
    for name in ("README", "a.service", "a service.service"):
        (tmp_path / "units" / name).write_text(TEXT)
        (links / name).symlink_to(directory.path(name))
    (links / "b.service").symlink_to("/nowhere/b.service")
    assert directory.units() == directory.linked_from(links) == ("a.service",)


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path / "units")
    directory.directory.rmdir()
    assert directory.units() == ()
    assert directory.write("a.service", TEXT)
    assert directory.text("a.service") == TEXT


def test_a_directory_in_the_place_of_a_file_says_nothing(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path / "units")
    directory.path("a.service").mkdir()
    assert (directory.text("a.service"), directory.hash("a.service")) == ("", "")


def test_a_place_that_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "units").write_text("")
    with pytest.raises(UserError, match="cannot use"):
        UnitDirectory(tmp_path / "units")


def test_remains_of_an_interrupted_write_are_no_units(tmp_path: Path) -> None:
    directory = UnitDirectory(tmp_path)
    (tmp_path / ".a.service.new").write_text("half")
    assert directory.units() == ()
    directory.remove("never-there.service")
