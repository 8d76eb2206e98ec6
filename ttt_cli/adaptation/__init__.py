"""Online test-time training. Read online.py first.

The memories, the optimizer, the reconstruction loss, and the methods in methods/.
"""
