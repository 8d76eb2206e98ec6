"""The types that all other folders share: frames, labels, classes, colors, errors, and the reader of TOML files.

Nothing here imports from another folder.
"""
