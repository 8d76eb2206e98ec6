"""The ffmpeg binary that comes with imageio-ffmpeg: where it is, how it is started, how it is told a file's name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ttt_cli.core.errors import TttvError


def file_url(path: Path) -> str:
    """`path` as ffmpeg has to be told it: absolute, and never taken for a protocol (`http:x`, `concat:a|b`)."""
    return f"file:{path.absolute()}"


def start(
    arguments: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Starts ffmpeg with its messages on a pipe, each tagged with its level (`[error] ...`).

    It runs in a session of its own: Ctrl-C in the terminal reaches this program alone, which then ends ffmpeg properly.
    """
    command = [_executable(), "-hide_banner", "-nostdin", "-y", *arguments]
    if os.name == "nt":
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, creationflags=flags)
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True)


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Runs ffmpeg to its end: its exit code and everything it said. Ended with the program when that is interrupted."""
    process = start(arguments)
    try:
        _, messages = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, messages.decode("utf-8", "replace").replace("\r", "\n")


def reason(messages: str) -> str:
    """The cause of a failure, in a few words, out of what ffmpeg said when started with `-loglevel level+...`."""
    causes = [line for line in messages.splitlines() if "[error]" in line or "[fatal]" in line]
    if not causes:
        return "ffmpeg gave no reason"
    # The first error is the cause and those after it are its consequences.
    text = causes[0].partition("[error] " if "[error]" in causes[0] else "[fatal] ")[2]
    return text.strip().rstrip(".")


def _executable() -> str:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise TttvError("no ffmpeg was found: reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to one") from error
