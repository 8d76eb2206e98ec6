"""What was predicted, as pictures.

Objects keep their color from frame to frame.
"""
