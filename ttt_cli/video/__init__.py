"""Video files and folders of pictures: in, out, and what happens to frames between.

ffmpeg decodes and encodes in processes of its own.
"""
