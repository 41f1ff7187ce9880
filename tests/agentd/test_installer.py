from __future__ import annotations

from pathlib import Path

import pytest

from agentd.installer import unlink


def made(tmp_path: Path, *paths: str, to: str) -> Path:
    places = tmp_path / "links"
    for path in paths:
        link = places / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(to)
    return places


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("aliases", [("b.service", "../x.service", "never-there.service"), None])
def test_every_link_to_our_file_goes_and_no_other(
    tmp_path: Path, there: bool, aliases: tuple[str, ...] | None
) -> None:
    target = tmp_path / "units" / "a.service"
    target.parent.mkdir()
    if there:
        target.write_text("")
    ours = ("b.service", "x.target.wants/a.service", "x.target.requires/a.service", "y.service.upholds/a.service")
    places = made(tmp_path, *ours, to=str(target))
    kept = ("c.service", "x.target.wants/c.service", "z.target.wants/a.service")
    made(tmp_path, *kept, to="/lib/systemd/system/c.service")
    (places / "d.service").write_text("")
    unlink(places, target, aliases)
    found = sorted(str(path.relative_to(places)) for path in places.rglob("*") if not path.is_dir())
    assert found == sorted((*kept, "d.service"))
    assert sorted(path.name for path in places.iterdir() if path.is_dir()) == ["x.target.wants", "z.target.wants"]


def test_a_link_by_way_of_another_goes_too(tmp_path: Path) -> None:
    target = tmp_path / "units" / "a.service"
    places = made(tmp_path, "a.service", to=str(target))
    made(tmp_path, "x.target.wants/a.service", to="../a.service")
    unlink(places, target, ())
    assert [path.name for path in places.iterdir()] == ["a.service"]
    (places / "a.service").unlink()
    made(tmp_path, "x.target.wants/a.service", to="../a.service")
    unlink(places, target, None)
    assert list(places.iterdir()) == []
    unlink(tmp_path / "nowhere", target, None)
