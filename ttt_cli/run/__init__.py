"""Runs a model on one video and writes a folder of results.

Holds the run's settings, its output folder and files, and the record of how it went.
"""
