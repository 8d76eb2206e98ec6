"""Videos to be colored. They need no labels: a color video is its own truth, a black-and-white video has none."""

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
from ttt_cli.video.opening import open_input
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.transforms import within

VIDEO_SUFFIXES = (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
LARGEST_DIFFERENCE_SECONDS = 5.0
"""How far the length of a copy may be from the film's."""


@dataclass(frozen=True)
class Film:
    """One of the ten films in the paper's appendix B."""

    title: str
    seconds: int
    words: frozenset[str]
    """Words of its English and French titles; a file name with any of them is this film."""


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
    """The video request.truth, or the videos in it: files or folders of pictures, sorted by name.

    Raises TttvError if there is no video or a video cannot be read.
    """
    return [_stream(open_input(path, request.wanted)) for path in _videos(request.truth)]


def lumiere_streams(request: StreamRequest) -> list[Stream]:
    """The films of the ten that are in the folder request.truth, without their borders.

    Warnings count missing films and files that are not one of the films, and name files of another length. Raises
    TttvError if the folder has none of the films.
    """
    paths = _videos(request.truth)
    files = {film: path for film in LUMIERE for path in paths if film.words & _words(path.stem)}
    folder = printable(request.truth)
    if not files:
        raise TttvError(f"{folder}: has none of the ten films; call the files after them, such as gardener.mp4")
    strange = len(paths) - len(set(files.values()))
    missing = [film.title for film in LUMIERE if film not in files]
    warnings = [f"{folder}: {strange} of {len(paths)} videos are none of the ten films: left out"] if strange else []
    warnings += [f"{folder}: {len(missing)} of the ten films are missing: {', '.join(missing)}"] if missing else []
    streams = []
    for film, path in files.items():
        video = open_input(path, request.wanted)
        warnings += _length_warning(film, path, open_input(path, InputSettings()))
        streams.append(_stream(_without_border(video), film.title))
    return [dataclasses.replace(streams[0], warnings=tuple(warnings)), *streams[1:]]


def _stream(video: Video, name: str | None = None) -> Stream:
    return Stream(name or video.name, (), video, lambda name: None)


def _videos(root: Path) -> list[Path]:
    """`root` if it is a video, or else the videos just below it, sorted by name."""
    if root.is_file() or _has_pictures(root):
        return [root]
    videos = [path for path in folders_in(root) if _has_pictures(path)]
    videos += [path for path in root.iterdir() if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise TttvError(f"{printable(root)}: has no videos in it, and no folders of pictures; check --gt")
    return sorted(videos)


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(images.is_image(path) for path in folder.iterdir())


def _words(stem: str) -> frozenset[str]:
    without_accents = unicodedata.normalize("NFKD", stem.lower()).encode("ascii", "ignore").decode()
    return frozenset(re.findall(r"[a-z]+", without_accents))


def _length_warning(film: Film, path: Path, video: Video) -> Iterator[str]:
    """A warning if the file does not have the length of the film."""
    if video.length is None:
        return
    seconds = video.length / float(video.fps)
    if abs(seconds - film.seconds) > LARGEST_DIFFERENCE_SECONDS:
        yield f"{printable(path)}: lasts {seconds:.0f} s, {film.title} {film.seconds} s; is it a part, or another film?"


def _without_border(video: Video) -> Video:
    """Only the picture, as if the film never had a border."""
    inner = within(video, picture_area(video, "auto"))

    def frames() -> Iterator[Frame]:
        for frame in inner.frames():
            yield dataclasses.replace(frame, original=None)

    return dataclasses.replace(inner, frames=frames)
