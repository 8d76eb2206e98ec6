"""Finds and starts the ffmpeg binary that comes with imageio-ffmpeg, and reads its messages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ttt_cli.core.errors import TttvError, UsageError, printable

VARIABLE = "IMAGEIO_FFMPEG_EXE"
"""The environment variable that names another ffmpeg than that of imageio-ffmpeg."""


def file_url(path: Path) -> str:
    """`path` in the form to pass to ffmpeg: absolute, and never mistaken for a protocol (`http:x`, `concat:a|b`)."""
    return f"file:{path.absolute()}"


def start(
    arguments: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Starts ffmpeg with its messages on a pipe, each tagged with its level (`[error] ...`).

    It runs in a session of its own: Ctrl-C in the terminal reaches only this program, which then ends ffmpeg properly.
    """
    command = [_executable(), "-hide_banner", "-nostdin", "-y", *arguments]
    if os.name == "nt":
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, creationflags=flags)
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True)


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Runs ffmpeg to its end; returns its exit code and messages. ffmpeg is killed if this program is interrupted."""
    process = start(arguments)
    try:
        _, messages = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, messages.decode("utf-8", "replace").replace("\r", "\n")


def reason(messages: str) -> str:
    """The cause of a failure in a few words, from the messages of ffmpeg started with `-loglevel level+...`."""
    causes = [line for line in messages.splitlines() if "[error]" in line or "[fatal]" in line]
    if not causes:
        return "ffmpeg gave no reason"
    # The first error is the cause; later errors are its consequences.
    text = causes[0].partition("[error] " if "[error]" in causes[0] else "[fatal] ")[2]
    return text.strip().rstrip(".")


def hwaccels() -> list[str]:
    """The names that this ffmpeg knows for decoding by hardware, which may not be there; `auto` takes any that is."""
    listed = subprocess.run([_executable(), "-hide_banner", "-hwaccels"], capture_output=True, text=True, check=False)
    return ["auto", *listed.stdout.partition(":")[2].split()]


def check_hwaccel(name: str) -> None:
    """Raises UsageError if this ffmpeg does not know it."""
    known = hwaccels()
    if name not in known:
        raise UsageError(f"hwaccel {printable(name)!r} is not known to this ffmpeg; it knows: {', '.join(known)}")


def _executable() -> str:
    import imageio_ffmpeg

    try:
        executable = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise TttvError(f"no ffmpeg was found: reinstall imageio-ffmpeg, or set {VARIABLE} to one") from error
    if os.environ.get(VARIABLE) and not _is_ffmpeg(executable):
        raise TttvError(f"{printable(executable)}: is no ffmpeg that runs; correct {VARIABLE}, or unset it")
    return executable


@cache
def _is_ffmpeg(executable: str) -> bool:
    """Whether the file runs as ffmpeg does. imageio-ffmpeg itself tries only what it finds without the variable."""
    try:
        version = subprocess.run([executable, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return version.returncode == 0 and version.stdout.startswith(b"ffmpeg version")
