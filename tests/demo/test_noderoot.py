"""What a node's root has beside the files that are the same everywhere."""

from __future__ import annotations

from pathlib import Path

from fleettui.demo import noderoot


def test_services_see_a_source_tree_that_their_own_tmp_would_hide() -> None:
    trees = [Path("/home/ann/fleet"), Path("/tmp/fleet"), Path("/var/tmp/a b/fleet")]  # noqa: S108
    assert noderoot.seen_by_services(trees) == (
        '[Service]\nBindReadOnlyPaths="/tmp/fleet"\nBindReadOnlyPaths="/var/tmp/a b/fleet"\n'
    )
