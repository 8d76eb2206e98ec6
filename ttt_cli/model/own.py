"""Our own weights files: safetensors with a JSON record in their metadata, found by name or by path.

Torch is imported only when tensors are loaded, so `tttv weights list` starts fast.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ttt_cli.core.checksum import sha256
from ttt_cli.core.choices import choices
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.pictures import IMAGENET, Exposure, PictureStatistics
from ttt_cli.core.replacing import replacing
from ttt_cli.core.toml import converted, from_table
from ttt_cli.model.weights import ALL_TASKS, Weights

if TYPE_CHECKING:
    from ttt_cli.model.settings import ModelSize
    from ttt_cli.model.split import SplitModel
    from ttt_cli.model.two_headed import TwoHeadedModel

FORMAT = "tttv-1"
FOLDER_VARIABLE = "TTTV_WEIGHTS"
COLORIZATION = "colorization"
ORDINARY_FEATURES = "ordinary_features."
"""What the names of the tensors of `TwoHeadedModel.ordinary_features` begin with."""


@dataclass(frozen=True)
class Release:
    """A weights file that ships with the program."""

    file: str
    """Its name."""
    sha256: str
    """Its checksum, in hexadecimal."""
    summary: str
    """What it is, in a few words."""


MAIN_ONLY = "main-only"
STREET, COLOR = "street", "color"
PLAIN = f"{STREET}-plain"
RELEASES = {
    STREET: Release(
        "street.safetensors",
        "6aaa0407853655c2afdd295ecefb65696fa3c39ddb97dc65bb6b4471d6dccc86",
        "driving and street scenes, CamVid's 11 classes",
    ),
    PLAIN: Release(
        f"{PLAIN}.safetensors",
        "cba44287cda6b6928bdcd33b2dcde39d005373d1814e57d14cd9800bbe2ba076",
        f"{STREET} of tttv 0.1, trained on pictures as they are",
    ),
    f"{PLAIN}-{MAIN_ONLY}": Release(
        f"{PLAIN}-{MAIN_ONLY}.safetensors",
        "f095a23940f3c207aee80bc08113695767ed185fb759bf8f0198d9523104cf89",
        f"the same trained without reconstruction, for --method {MAIN_ONLY}",
    ),
    COLOR: Release(
        "color.safetensors",
        "a3d7a4dfa1d33edba67b21a2cd29ceb668831e9f64dd4a8a81404ebce7b65c27",
        "colors for black-and-white film",
    ),
}


@dataclass(frozen=True, kw_only=True)
class OwnWeights(Weights):
    """The record of one of our own weights files, which holds a two-headed model."""

    model_size: ModelSize

    @property
    def encoder(self) -> str:
        """The name of f's architecture."""
        return self.model_size.encoder.name

    def fingerprint(self) -> str:
        """The checksum of the file."""
        return sha256(self.path)

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes another weights file, named after `path`."""
        from ttt_cli.model.two_headed import TwoHeadedModel

        assert isinstance(model, TwoHeadedModel), "load gives no other"
        save_weights(model, replace(self, path=path, name=path.stem))

    def load_alone(self) -> TwoHeadedModel:
        """The model, filled, in eval mode.

        Raises TttvError if tensors are missing, unknown, of other shapes or not finite, or the file is damaged.
        """
        from ttt_cli.model.checksum import read_tensors, require_finite
        from ttt_cli.model.feature_statistics import FeatureStatistics
        from ttt_cli.model.two_headed import TwoHeadedModel

        model = TwoHeadedModel(self.model_size, len(self.classes))
        try:
            found, has_checksum = read_tensors(self.path)
            if not has_checksum:
                check_release(self.path)
            require_finite(found.items(), self.path)
            tensors = {_american(name): tensor for name, tensor in found.items()}
            model.ordinary_features = FeatureStatistics.read(tensors, ORDINARY_FEATURES)
            model.load_state_dict(tensors)
        except (RuntimeError, SafetensorError, OSError) as error:
            cause = str(error).splitlines()[0]
            raise TttvError(f"{printable(self.path)}: tensors do not fit its architecture ({cause})") from error
        return model.eval()


def check_release(path: Path) -> None:
    """Raises TttvError if a file that ships with the program is not as it was shipped."""
    shipped = {folder.resolve() / release.file: release for folder in folders() for release in RELEASES.values()}
    release = shipped.get(path.resolve())
    if release is not None and sha256(path) != release.sha256:
        raise TttvError(f"{printable(path)}: its sha256 is {sha256(path)}, not {release.sha256}; reinstall")


def shipped_for(task: str | None) -> str:
    """The name of the shipped weights for a task; None is the default task."""
    return COLOR if task == COLORIZATION else STREET


def read_own(path: Path) -> OwnWeights:
    """Reads the record of a weights file. Raises TttvError for a bad file."""
    shown = printable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = file.keys()
    except (SafetensorError, OSError) as error:
        raise TttvError(f"{shown}: not a readable weights file ({error}); it may be damaged or cut short") from error
    if metadata.get("format") != FORMAT:
        raise TttvError(f"{shown}: weights of another program or version (no {FORMAT!r} record inside)")
    try:
        weights = _parsed(path, json.loads(_american(metadata["record"])))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UsageError) as error:
        raise TttvError(f"{shown}: its record cannot be understood ({printable(error)})") from error
    return replace(weights, has_ordinary_features=any(name.startswith(ORDINARY_FEATURES) for name in names))


def is_own(path: Path) -> bool:
    """Whether a file is one of our weights files, however damaged its record is."""
    try:
        with safe_open(path, framework="numpy") as file:
            return bool((file.metadata() or {}).get("format") == FORMAT)
    except (SafetensorError, OSError):
        return False


def save_weights(model: TwoHeadedModel, weights: OwnWeights) -> None:
    """Writes the model and its record to `weights.path`, through a temporary file."""
    from safetensors.torch import save_file

    from ttt_cli.model.checksum import KEY, checksum_of

    table = {
        "name": weights.name,
        "tasks": weights.tasks,
        "license": weights.license,
        "classes": [dataclasses.asdict(class_) for class_ in weights.classes],
        "model": dataclasses.asdict(weights.model_size),
        "reconstruction": dataclasses.asdict(weights.reconstruction),
        "adaptation": weights.adaptation,
        "ordinary": dataclasses.asdict(weights.ordinary),
        "exposure": weights.exposure,
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    record = json.dumps(table)
    metadata = {"format": FORMAT, "record": record, KEY: checksum_of(record, tensors)}
    with replacing(weights.path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
        temporary.chmod(0o644)  # safetensors lets only the owner read its files; these are meant to be shared.


def find(name_or_path: str) -> Path:
    """The file for a name in RELEASES, looked for in `folders`, or for a path."""
    if name_or_path not in RELEASES:
        path = Path(name_or_path)
        if path.is_file():
            return path.absolute()
        shown, known = printable(name_or_path), choices(name_or_path, RELEASES)
        raise UsageError(f"{shown}: no such weights file, and no name of weights; {known}")
    file = RELEASES[name_or_path].file
    for folder in folders():
        if (folder / file).is_file():
            return folder / file
    searched = ", ".join(printable(folder) for folder in folders())
    raise TttvError(f"weights {name_or_path}: {file} is in none of {searched}; reinstall, or set {FOLDER_VARIABLE}")


def folders() -> Iterator[Path]:
    """The folders to look for weights in, in order: $TTTV_WEIGHTS, the installed package, the source tree."""
    if os.environ.get(FOLDER_VARIABLE):
        yield Path(os.environ[FOLDER_VARIABLE])
    package = Path(__file__).parents[1]
    yield package / "shipped_weights"
    yield package.parent / "weights"


def _american(text: str) -> str:
    """Respells names in files of tttv 0.1, which used British spelling for color and license."""
    return text.replace("colour", "color").replace("licence", "license")


def _parsed(path: Path, record: dict[str, Any]) -> OwnWeights:
    from ttt_cli.model.settings import ModelSize, ReconstructionSettings

    ordinary = record.get("ordinary")
    classes = converted(tuple[Class, ...], record["classes"], "classes")
    # Files of tttv 0.1 without tasks were trained for all.
    tasks = converted(tuple[str, ...], record.get("tasks", list(ALL_TASKS)), "tasks")
    if tasks != (COLORIZATION,) and not (tasks and classes and set(tasks) <= set(ALL_TASKS)):
        raise UsageError(f"tasks must be {COLORIZATION}, or with classes some of {', '.join(ALL_TASKS)}")
    return OwnWeights(
        path=path,
        name=converted(str, record["name"], "name"),
        tasks=tasks,
        classes=classes,
        license=converted(str, record["license"], "license"),
        model_size=from_table(ModelSize, record["model"], "model"),
        reconstruction=from_table(ReconstructionSettings, record["reconstruction"], "reconstruction"),
        adaptation=converted(dict[str, Any], record["adaptation"], "adaptation"),
        # Files of tttv 0.1 have neither.
        ordinary=IMAGENET if ordinary is None else from_table(PictureStatistics, ordinary, "ordinary"),
        exposure=converted(Exposure, record.get("exposure", "off"), "exposure"),
    )
