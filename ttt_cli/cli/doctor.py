"""`tttv doctor`: checks this machine and installation."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import typer

from ttt_cli.cli import _console
from ttt_cli.core.errors import TttvError
from ttt_cli.core.version import __version__

Check = tuple[str, Callable[[], str]]


def doctor() -> None:
    """Show devices, versions, ffmpeg and weights. The exit code is 1 if anything that every run needs is missing."""
    rows, failed = [], False
    for name, check in _checks():
        try:
            rows.append((name, check()))
        except Exception as error:
            failed = True
            rows.append((name, f"FAILED: {error}"))
    _console.facts("tttv doctor", rows)
    raise typer.Exit(1 if failed else 0)


def _checks() -> Iterator[Check]:
    yield "tttv", lambda: __version__
    yield "python", lambda: f"{platform.python_version()} on {platform.platform()}"
    yield "torch", _torch
    for package in ("transformers", "timm", "numpy"):
        yield package, lambda package=package: _installed(package)  # type: ignore[misc]
    yield "ffmpeg", _ffmpeg
    yield "weights", _weights


def _torch() -> str:
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        devices.append(f"cuda ({torch.cuda.get_device_name()})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"{torch.__version__}; devices: {', '.join(devices)}"


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        raise TttvError("not installed; reinstall tttv") from None


def _ffmpeg() -> str:
    from ttt_cli.video import ffmpeg

    code, _ = ffmpeg.run(["-version"])
    if code != 0:
        raise TttvError(f"ends with code {code}; reinstall imageio-ffmpeg")
    import imageio_ffmpeg

    return f"{imageio_ffmpeg.get_ffmpeg_version()}, {imageio_ffmpeg.get_ffmpeg_exe()}"


def _weights() -> str:
    from ttt_cli.model.own import RELEASES, find, folders

    found = [f"{name}: {find(name)}" for name in RELEASES]
    looked_in = [f"{folder}{'' if folder.is_dir() else ' (absent)'}" for folder in folders()]
    return f"{'; '.join(found)}; looked for in: {', '.join(looked_in)}"
