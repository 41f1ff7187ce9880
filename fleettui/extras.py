"""The libraries that only an operator needs: they come with the extra `operator`, and may be missing."""

from __future__ import annotations

LIBRARIES = ("asyncssh", "cryptography", "rich", "textual")


def missing_extra(error: BaseException) -> str:
    """What to install, when the error is that one of these libraries is missing; "" for any other error."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in LIBRARIES:
        return ""
    return f"the operator's side is not installed here ({name} is missing); run: pip install 'fleettui[operator]'"
