"""Draws predictions over frames: colored regions, borders, names and a legend.

Objects keep their color from frame to frame.
"""
