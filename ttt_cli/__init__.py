"""tttv: segment or colour video with a model that keeps training itself on the video while it predicts."""

__version__ = "0.1.0"
