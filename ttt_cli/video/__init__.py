"""Reads and writes video files and folders of pictures, and prepares frames for the model.

ffmpeg decodes and encodes in processes of its own.
"""
