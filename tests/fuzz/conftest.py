"""What lies in this folder is a fuzz test: `make test` runs it briefly, `make fuzz` for as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import EXAMPLES

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests, and give each the time that its search takes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.fuzz)
            item.add_marker(pytest.mark.timeout(max(300, EXAMPLES)))
