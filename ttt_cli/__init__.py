"""tttv: segment or colour video with a model that keeps training itself on the video while it predicts."""

import logging

__version__ = "0.1.0"

# Whoever uses the library decides where its log goes; the command line says what its user must know by itself.
logging.getLogger(__name__).addHandler(logging.NullHandler())
