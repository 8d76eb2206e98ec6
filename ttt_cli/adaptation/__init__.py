"""Online test-time training: read online.py first.

The memories, the optimizer, reconstruction, and the table of methods.
"""
