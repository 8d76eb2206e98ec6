"""What everything else is written in terms of: frames, labels, classes, colors, errors.

Nothing here imports another part of the program.
"""
