"""The version of tttv."""

__version__ = "0.1.0"
