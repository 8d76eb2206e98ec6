"""What is predicted: classes, objects, or colors.

One file for each task, and one line in table.py.
"""
