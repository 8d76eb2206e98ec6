"""One run: a video goes in, a folder of results comes out.

Settings, the folder, its files, and the record of how it went.
"""
