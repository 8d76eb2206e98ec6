"""tttv: segment or color video with a model that keeps training itself on the video while it predicts.

The functions in `__all__` come from api.py. They are imported on first use, so that `import ttt_cli` is fast.
"""

from __future__ import annotations

from ttt_cli.core.version import __version__

TYPE_CHECKING = False  # As in `typing`, which takes longer to import than all else here.

if TYPE_CHECKING:
    from typing import Any

    from ttt_cli.api import adapt, colorize, load, open_video, segment

__all__ = ["__version__", "adapt", "colorize", "load", "open_video", "segment"]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ttt_cli import api

    return getattr(api, name)
