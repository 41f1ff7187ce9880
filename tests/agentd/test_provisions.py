"""What units need beside their files is there before they start, whole, and goes with the last that needs it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agentd.file_cache import FileMissing
from agentd.managed_unit import Refused
from agentd.provisions import Provisions, Unprovided
from registry.errors import UserError
from registry.model import Target
from registry.units.content import ConfigContent, config_text, content_hash, secret_text
from registry.units.pins import Need, NeedKind, VersionPin, pinned
from tests.agentd.machine import machine

WEB = config_text("web", ConfigContent({"sub/a.toml": b"a = 1\n", "raw": b"\0\xff"}, {"A": 'x "$y" \\`'}))
DB = secret_text("db", "key1", b"terces")
CONFIG = VersionPin(Need(NeedKind.CONFIG, "web"), content_hash(WEB))
SECRET = VersionPin(Need(NeedKind.SECRET, "db", "db"), content_hash(DB))


class Contents:
    """The registry's contents."""

    def __init__(self, *texts: str) -> None:
        self.texts = {content_hash(text): text for text in texts}

    async def get(self, sha: str) -> str:
        if sha not in self.texts:
            raise FileMissing("it is missing")
        return self.texts[sha]


def opened(key: str, sealed: bytes, _: str) -> bytes:
    if key != "key1":
        raise UserError("this machine has no such key")
    return sealed[::-1]


def at(tmp_path: Path, pin: VersionPin) -> Path:
    return tmp_path / pin.path.lstrip("/")


async def test_a_config_and_a_secret_lie_where_the_unit_s_file_says(tmp_path: Path) -> None:
    here = Provisions(Contents(WEB, DB), opened, run=tmp_path)
    pins = (CONFIG, SECRET)
    assert not here.holds(pins)
    await here.provide("a.service", pins)
    assert here.holds(pins)
    config, secret = at(tmp_path, CONFIG), at(tmp_path, SECRET)
    assert (config / "files/sub/a.toml").read_text() == "a = 1\n"
    assert (config / "files/raw").read_bytes() == b"\0\xff"
    assert (config / "environment").read_text() == 'A="x \\"\\$y\\" \\\\\\`"\n'
    assert stat.S_IMODE((config / "files/raw").stat().st_mode) == 0o644
    assert secret.read_bytes() == b"secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.parent.stat().st_mode) == 0o700
    assert (tmp_path / "run/fleet/config/web").is_dir()


async def test_what_no_unit_needs_goes_and_what_another_needs_stays(tmp_path: Path) -> None:
    here = Provisions(Contents(WEB, DB), opened, run=tmp_path)
    for unit in ("a.service", "b.service"):
        await here.provide(unit, (CONFIG, SECRET))
        here.keep(unit, (CONFIG, SECRET))
    here.keep("a.service", ())
    assert here.holds((CONFIG, SECRET))
    here.keep("b.service", (CONFIG,))
    assert here.holds((CONFIG,))
    assert not at(tmp_path, SECRET).exists()
    here.keep("b.service", ())
    assert list((tmp_path / "run/fleet/pins/config").iterdir()) == []


async def test_an_agent_that_was_killed_leaves_nothing_half_written_and_no_secret(
    tmp_path: Path,
) -> None:
    before = Provisions(Contents(WEB, DB), opened, run=tmp_path)
    await before.provide("a.service", (CONFIG, SECRET))  # and its file was never written
    half = at(tmp_path, CONFIG).with_name(f".{'f' * 64}.new")
    (half / "files").mkdir(parents=True)
    after = Provisions(Contents(WEB), opened, run=tmp_path)
    await after.provide("b.service", (CONFIG,))
    assert after.holds((CONFIG,))
    assert not half.exists()
    assert not at(tmp_path, SECRET).exists()


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    here = Provisions(Contents(WEB, DB), opened, run=tmp_path)
    monkeypatch.setattr("agentd.provisions.write_atomically", full)
    for pin in (CONFIG, SECRET):
        with pytest.raises(Unprovided, match=f"cannot write {pin.need} to .*: No space left"):
            await here.provide("a.service", (pin,))
        assert not at(tmp_path, pin).exists()
    monkeypatch.undo()
    await here.provide("a.service", (CONFIG, SECRET))
    assert here.holds((CONFIG, SECRET))


async def test_what_cannot_be_had_is_refused_with_its_name_before_anything_is_stopped(tmp_path: Path) -> None:
    other = VersionPin(Need(NeedKind.SECRET, "db", "db"), content_hash(secret_text("db", "key2", b"x")))
    here = Provisions(Contents(secret_text("db", "key2", b"x")), opened, run=tmp_path)
    with pytest.raises(Refused, match="secret db: this machine has no such key"):
        await here.check((other,))
    with pytest.raises(Refused, match="config web: it is missing"):
        await here.check((CONFIG,))
    with pytest.raises(Refused, match="secret db: only the system's"):
        await Provisions(Contents(DB), opened, "only the system's", tmp_path).check((SECRET,))


async def test_a_unit_has_its_config_before_it_is_started_again_after_run_was_emptied(tmp_path: Path) -> None:
    text = pinned("[X-Fleet]\nConfig=web\n[Service]\nExecStart=/bin/true\n", "a.service", lambda _: CONFIG.version)
    async with machine(tmp_path) as host:
        host.files.texts[CONFIG.version] = WEB
        host.want("a.service", text)
        await host.launched("a.service")
        assert at(tmp_path, CONFIG).is_dir()
        host.want("a.service", text, target=Target.LOADED)
        await host.until(lambda: not host.systemd.runs("a.service"))
        await host.rest()
        at(tmp_path, CONFIG).rename(tmp_path / "gone")
        host.want("a.service", text)
        await host.launched("a.service")
        assert (at(tmp_path, CONFIG) / "environment").exists()
        host.withdraw("a.service")
        await host.gone("a.service")
        assert not at(tmp_path, CONFIG).exists()
