"""Weights files: safetensors with one JSON record in their metadata, found by name or by path.

Nothing here imports torch before a file is really loaded, so `tttv weights list` starts fast.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.toml import from_table
from ttt_cli.model.settings import ModelSize, ReconstructionSettings

if TYPE_CHECKING:
    from ttt_cli.model.two_headed import TwoHeadedModel

FORMAT = "tttv-1"
ALL_TASKS = ("semantic", "instance", "panoptic")
FOLDER_VARIABLE = "TTTV_WEIGHTS"


@dataclass(frozen=True)
class Release:
    """A file that ships with the program: its checksum, and what it is in a few words."""

    file: str
    sha256: str
    summary: str


MAIN_ONLY = "main-only"
STREET, COLOR = "street", "color"
RELEASES = {
    STREET: Release(
        "street.safetensors",
        "6204b2444e39cb8ca83dbabc0324cef79ff361e1d05fed2f9a033eb4fd5a1a68",
        "driving and street scenes, CamVid's 11 classes",
    ),
    f"{STREET}-{MAIN_ONLY}": Release(
        f"{STREET}-{MAIN_ONLY}.safetensors",
        "a4edc801896a83bb25f1e34fb8e70ace9c2d585f42f81875537300636f4a821a",
        f"the same trained without reconstruction, for --method {MAIN_ONLY}",
    ),
    COLOR: Release(
        "color.safetensors",
        "13a10d3e5b8e72868a83330b19393e427c8eb5be133e3cdf04fa80ae94bd0cd5",
        "colors for black-and-white film",
    ),
}


@dataclass(frozen=True)
class Weights:
    """What a weights file says of itself; `load` brings the tensors.

    tasks: what the main head was trained for, names in TASKS.
    adaptation: settings of test-time training that were chosen for these weights (names of AdaptationSettings).
    """

    path: Path
    name: str
    tasks: tuple[str, ...]
    classes: tuple[Class, ...]
    license: str
    model_size: ModelSize
    reconstruction: ReconstructionSettings
    adaptation: dict[str, Any]

    def load(self) -> TwoHeadedModel:
        """The model, filled, in eval mode. Raises TttvError where tensors are missing, left over or of other shapes."""
        from safetensors.torch import load_file

        from ttt_cli.model.two_headed import TwoHeadedModel

        model = TwoHeadedModel(self.model_size, len(self.classes))
        try:
            model.load_state_dict({_american(name): tensor for name, tensor in load_file(self.path).items()})
        except (RuntimeError, SafetensorError, OSError) as error:
            cause = str(error).splitlines()[0]
            raise TttvError(f"{printable(self.path)}: tensors do not fit its architecture ({cause})") from error
        return model.eval()


def shipped_for(task: str | None) -> str:
    """The name of the shipped weights for a task; None is the task by default."""
    return COLOR if task == "colorization" else STREET


def open_weights(name_or_path: str) -> Weights:
    """Finds and reads the record of a weights file. Raises UsageError for an unknown name, TttvError for a bad file."""
    path = find(name_or_path)
    shown = printable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise TttvError(f"{shown}: not a readable weights file ({error}); it may be damaged or cut short") from error
    if metadata.get("format") != FORMAT:
        raise TttvError(f"{shown}: weights of another program or version (no {FORMAT!r} record inside)")
    try:
        return _parsed(path, json.loads(_american(metadata["record"])))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise TttvError(f"{shown}: its record cannot be understood ({error})") from error


def weights_for(method: str, weights: Weights) -> Weights:
    """The weights that a method runs with: `main-only` has its own, trained without l_s, beside those of all others.

    Raises UsageError where they are missing.
    """
    if method.split("+")[0] != MAIN_ONLY:
        return weights
    path = weights.path.with_name(f"{weights.path.stem}-{MAIN_ONLY}{weights.path.suffix}")
    if not path.is_file():
        raise UsageError(
            f"method {MAIN_ONLY}: needs weights trained on the main task alone, and there is no {printable(path)}; "
            "train them with tttv train --main-only"
        )
    return open_weights(str(path))


def save_weights(model: TwoHeadedModel, weights: Weights) -> None:
    """Writes model and record to `weights.path`, by way of a temporary file."""
    from safetensors.torch import save_file

    record = {
        "name": weights.name,
        "tasks": weights.tasks,
        "license": weights.license,
        "classes": [dataclasses.asdict(one) for one in weights.classes],
        "model": dataclasses.asdict(weights.model_size),
        "reconstruction": dataclasses.asdict(weights.reconstruction),
        "adaptation": weights.adaptation,
    }
    temporary = weights.path.with_suffix(".part")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, temporary, metadata={"format": FORMAT, "record": json.dumps(record)})
    temporary.chmod(0o644)  # safetensors keeps its files to their owner, and these are made to be shared.
    temporary.replace(weights.path)


def find(name_or_path: str) -> Path:
    """The file behind a name in RELEASES or a path; names are looked for in `folders`."""
    if name_or_path not in RELEASES:
        path = Path(name_or_path)
        if path.is_file():
            return path.absolute()
        known = ", ".join(RELEASES)
        raise UsageError(f"{printable(name_or_path)}: no such weights file, and no name of weights; known: {known}")
    file = RELEASES[name_or_path].file
    for folder in folders():
        if (folder / file).is_file():
            return folder / file
    places = ", ".join(printable(folder) for folder in folders())
    raise TttvError(f"weights {name_or_path}: {file} is in none of {places}; reinstall, or set {FOLDER_VARIABLE}")


def folders() -> Iterator[Path]:
    """Where weights are looked for, in order: $TTTV_WEIGHTS, the installed package, the source tree."""
    if os.environ.get(FOLDER_VARIABLE):
        yield Path(os.environ[FOLDER_VARIABLE])
    package = Path(__file__).parents[1]
    yield package / "shipped_weights"
    yield package.parent / "weights"


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _american(text: str) -> str:
    """The names in files of tttv 0.1, which spelled color and license the British way."""
    return text.replace("colour", "color").replace("licence", "license")


def _parsed(path: Path, record: dict[str, Any]) -> Weights:
    return Weights(
        path=path,
        name=record["name"],
        tasks=tuple(record.get("tasks", ALL_TASKS)),  # Files of tttv 0.1 that do not say have been trained for all.
        classes=tuple(from_table(Class, one, "classes") for one in record["classes"]),
        license=record["license"],
        model_size=from_table(ModelSize, record["model"], "model"),
        reconstruction=from_table(ReconstructionSettings, record["reconstruction"], "reconstruction"),
        adaptation=record["adaptation"],
    )
