"""tttv: segment or color video with a model that keeps training itself on the video while it predicts.

The functions in `__all__` come from api.py. They are imported on first use, so that `import ttt_cli` is fast.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ttt_cli.core.version import __version__

if TYPE_CHECKING:
    from ttt_cli.api import adapt, colorize, load, open_video, segment

__all__ = ["__version__", "adapt", "colorize", "load", "open_video", "segment"]

# Whoever uses the library decides where its log goes; the command line says what its user must know by itself.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ttt_cli import api

    return getattr(api, name)
