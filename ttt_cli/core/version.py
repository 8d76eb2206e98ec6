"""The version of tttv."""

__version__ = "0.2.0"
