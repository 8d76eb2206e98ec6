"""The tasks: what the model predicts (classes, objects or colors) and how that is scored.

One file for each task, and one line in table.py.
"""
