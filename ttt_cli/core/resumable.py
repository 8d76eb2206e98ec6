"""Things that change while a video runs, and that can go on later from where they were."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, ClassVar


class Resumable:
    """Something whose state is in some of its attributes; the others are made anew from the settings."""

    varying: ClassVar[tuple[str, ...]] = ()
    """The names of these attributes: numbers, texts, tensors, frozen records, and lists and dicts of them."""

    def state(self) -> dict[str, Any]:
        """Their values. They are not copied; a deque becomes a list, a Counter a dict."""
        return {name: _plain(getattr(self, name)) for name in self.varying}

    def resume(self, state: dict[str, Any]) -> None:
        """Sets the attributes to the values that `state` gave."""
        for name in self.varying:
            present, value = getattr(self, name), state[name]
            setattr(self, name, _like(present, value))


def _plain(value: Any) -> Any:
    if isinstance(value, deque):
        return list(value)
    return dict(value) if isinstance(value, Counter) else value


def _like(present: Any, value: Any) -> Any:
    if isinstance(present, deque):
        return deque(value, present.maxlen)
    return Counter(value) if isinstance(present, Counter) else value
