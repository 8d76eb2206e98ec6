"""Videos to be colored, which need no labels: a color video is its own truth, a black-and-white one has none."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.datasets.stream import Stream, StreamRequest, folders_in
from ttt_cli.tasks.film import picture_area
from ttt_cli.video import images
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.transforms import open_input, within

VIDEO_SUFFIXES = (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
LARGEST_DIFFERENCE_SECONDS = 5.0
"""Copies of a film begin and end a little earlier or later."""


@dataclass(frozen=True)
class Film:
    """One of the ten of the paper's appendix B. words: of its English and French titles; any one tells a file name."""

    title: str
    seconds: int
    words: frozenset[str]


def _film(title: str, seconds: int, words: str) -> Film:
    return Film(title, seconds, frozenset(words.split()))


LUMIERE = (
    _film("Workers Leaving the Lumiere Factory", 46, "workers factory sortie usine"),
    _film("The Gardener", 49, "gardener jardinier arroseur"),
    _film("The Disembarkment of the Congress of Photographers in Lyon", 48, "disembarkment photographers debarquement"),
    _film("Horse Trick Riders", 46, "horse riders voltige"),
    _film("Fishing for Goldfish", 42, "goldfish peche"),
    _film("Blacksmiths", 49, "blacksmiths forgerons"),
    _film("Baby's Meal", 41, "baby repas"),
    _film("Jumping Onto the Blanket", 41, "blanket couverture"),
    _film("Cordeliers Square in Lyon", 44, "cordeliers"),
    _film("The Sea", 38, "sea mer"),
)


def color_video_streams(request: StreamRequest) -> list[Stream]:
    """Every video below request.truth, which may be a video itself: files, or folders of pictures, in order of name.

    Raises TttvError where there is none, or one cannot be read.
    """
    return [_stream(open_input(path, request.wanted)) for path in _videos(request.truth)]


def lumiere_streams(request: StreamRequest) -> list[Stream]:
    """Those of the ten films that are in the folder request.truth, without their borders.

    Warnings count the films that are missing and the files that are none of them, and name those of another length.
    Raises TttvError where there is none of the films.
    """
    paths = _videos(request.truth)
    files = {film: path for film in LUMIERE for path in paths if film.words & _words(path.stem)}
    shown = printable(request.truth)
    if not files:
        raise TttvError(f"{shown}: has none of the ten films; call the files after them, such as gardener.mp4")
    strange = len(paths) - len(set(files.values()))
    missing = [film.title for film in LUMIERE if film not in files]
    warnings = [f"{shown}: {strange} of {len(paths)} videos are none of the ten films: left out"] if strange else []
    warnings += [f"{shown}: {len(missing)} of the ten films are missing: {', '.join(missing)}"] if missing else []
    streams = []
    for film, path in files.items():
        video = open_input(path, request.wanted)
        warnings += _unlike(film, path, open_input(path, InputSettings()))
        streams.append(_stream(_without_border(video), film.title))
    return [dataclasses.replace(streams[0], warnings=tuple(warnings)), *streams[1:]]


def _stream(video: Video, name: str | None = None) -> Stream:
    return Stream(name or video.name, (), video, lambda name: None)


def _videos(root: Path) -> list[Path]:
    """`root` itself, if it is a video, or those just below it, in order of name."""
    if root.is_file() or _has_pictures(root):
        return [root]
    found = [path for path in folders_in(root) if _has_pictures(path)]
    found += [path for path in root.iterdir() if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]
    if not found:
        raise TttvError(f"{printable(root)}: has no videos in it, and no folders of pictures; check --gt")
    return sorted(found)


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(images.is_image(path) for path in folder.iterdir())


def _words(stem: str) -> frozenset[str]:
    without_accents = unicodedata.normalize("NFKD", stem.lower()).encode("ascii", "ignore").decode()
    return frozenset(re.findall(r"[a-z]+", without_accents))


def _unlike(film: Film, path: Path, video: Video) -> Iterator[str]:
    """What is wrong with the file of a film: its length."""
    if video.length is None:
        return
    seconds = video.length / float(video.fps)
    if abs(seconds - film.seconds) > LARGEST_DIFFERENCE_SECONDS:
        yield f"{printable(path)}: lasts {seconds:.0f} s, {film.title} {film.seconds} s; is it a part, or another film?"


def _without_border(video: Video) -> Video:
    """The picture alone, as if the film had never had a border."""
    inner = within(video, picture_area(video, "auto"))

    def frames() -> Iterator[Frame]:
        for frame in inner.frames():
            yield dataclasses.replace(frame, original=None)

    return dataclasses.replace(inner, frames=frames)
