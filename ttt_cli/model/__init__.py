"""The networks f, g and h, and the files that hold their weights.

Nothing here deals with videos.
"""
