"""What errors say of a name that is unknown."""

from __future__ import annotations

from collections.abc import Iterable


def choices(name: str, known: Iterable[str]) -> str:
    """Which of the known names may be meant, if any is near, and all of them: "did you mean online? known: ..."."""
    from difflib import get_close_matches  # Only errors need it.

    names = list(known)
    listed = f"known: {', '.join(names)}" if names else "there are none"
    by_lower = {each.lower(): each for each in names}
    near = [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=2)]
    return f"did you mean {' or '.join(near)}? {listed}" if near else listed
