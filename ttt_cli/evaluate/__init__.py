"""Methods, windows and seeds against each other on labeled videos.

Finished passes are kept, so that an evaluation that was stopped goes on.
"""
