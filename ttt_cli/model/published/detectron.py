"""Models of detectron2: `detectron2:CONFIG.yaml#MODEL.pth`, for its own three architectures that make masks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ttt_cli.core.checksum import sha256
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.known_classes import classes_named
from ttt_cli.model.published.checkpoint import fill, read_tensors, save_tensors
from ttt_cli.model.published.detectron_model import DetectronModel, DetectronProcessing
from ttt_cli.model.published.foreign import ForeignWeights, first_line, numbered_names, require_count_of_classes
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel

BASE, MOST_BASES = "_BASE_", 20
"""The key by which a config names the configs that it is built on."""
PREFIX = "detectron2:"
ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "SemanticSegmentor": ("semantic",),
    "PanopticFPN": ("panoptic", "instance"),
    "GeneralizedRCNN": ("instance",),
}
"""Of a config's MODEL.META_ARCHITECTURE: what they predict."""


@dataclass(frozen=True, kw_only=True)
class DetectronWeights(ForeignWeights):
    """A checkpoint of detectron2, and the config that it belongs to."""

    config_path: Path
    config: Any
    """All of the config, a CfgNode of detectron2."""

    @property
    def encoder(self) -> str:
        """The architecture, and the function that builds its backbone."""
        return f"{self.config.MODEL.META_ARCHITECTURE} {self.config.MODEL.BACKBONE.NAME}"

    @property
    def recommended(self) -> dict[str, dict[str, Any]]:
        """Objects are put together as the config says."""
        tables = super().recommended
        combine = self.config.MODEL.PANOPTIC_FPN.COMBINE
        tables["task"]["object_threshold"] = combine.INSTANCES_CONFIDENCE_THRESH
        tables["task"]["overlap_threshold"] = 1 - combine.OVERLAP_THRESH
        return tables

    def load_alone(self) -> DetectronModel:
        """The model, filled, in eval mode. Raises TttvError if it cannot be built or its tensors do not fit."""
        from detectron2.modeling import build_model

        try:
            model = build_model(self.config.clone())
        except Exception as error:  # Configs can be wrong in every way.
            cause = printable(first_line(error))
            raise TttvError(f"{printable(self.config_path)}: makes no model ({cause})") from error
        fill(model, read_tensors(self.path), printable(self.path))
        return DetectronModel(model, blue_first=self.config.INPUT.FORMAT == "BGR")

    def processing(self, resizes: bool) -> DetectronProcessing:
        """What its DefaultPredictor does. resizes: whether frames are brought to the size in the config."""
        size = self.config.INPUT
        model = self.config.MODEL
        things = 0 if self.tasks == ("semantic",) else model.ROI_HEADS.NUM_CLASSES
        return DetectronProcessing(size.MIN_SIZE_TEST if resizes else 0, size.MAX_SIZE_TEST, things)

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes a checkpoint, for the same config."""
        assert isinstance(model, DetectronModel), "load gives no other"
        save_tensors(model.model, path)

    def fingerprint(self) -> str:
        """The checksum of config and tensors."""
        return hashlib.sha256(f"{self.config.dump()}{sha256(self.path)}".encode()).hexdigest()

    def identity(self) -> dict[str, str]:
        """What run.json and metrics.json say of the weights: `path` opens them again."""
        return {**super().identity(), "path": f"{PREFIX}{self.config_path}#{self.path}"}


def read_detectron(name: str) -> DetectronWeights:
    """The record of weights. name: `detectron2:CONFIG.yaml#MODEL.pth`.

    Raises UsageError for another form, TttvError for files that are missing or make no sense.
    """
    config_name, _, model_name = name.removeprefix(PREFIX).rpartition("#")
    if not config_name or not model_name:
        raise UsageError(f"{printable(name)}: name two files, {PREFIX}CONFIG.yaml#MODEL.pth")
    config_path, path = Path(config_name).absolute(), Path(model_name).absolute()
    if config_path.suffix == ".py":
        raise UsageError(f"{printable(config_path)}: is a program, which is not run; take a .yaml config")
    for file in (config_path, path):
        if not file.is_file():
            raise TttvError(f"{printable(file)}: there is no such file")
    _require_local(config_path)
    config = _read_config(config_path)
    tasks = _tasks(config, printable(config_path))
    return DetectronWeights(
        path=path,
        name=name,
        tasks=tasks,
        classes=_classes(config, tasks, printable(config_path)),
        license="not stated",
        reconstruction=ReconstructionSettings(),
        adaptation={"method": "joint"},
        has_reconstruction=False,
        has_class_probabilities=config.MODEL.META_ARCHITECTURE != "GeneralizedRCNN",
        # All backbones of detectron2 that a .yaml config can ask for are ResNets, most of them in a feature pyramid.
        has_frozen_normalization=config.MODEL.RESNETS.NORM == "FrozenBN" and config.MODEL.FPN.NORM in ("", "FrozenBN"),
        config_path=config_path,
        config=config,
    )


def _require_local(path: Path) -> None:
    """Raises TttvError if a config is built on one from a network, which detectron2 would get, or on too many."""
    shown, todo = printable(path), [path]
    for _ in range(MOST_BASES):
        if not todo:
            return
        file = todo.pop()
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise TttvError(f"{shown}: is no config of detectron2 ({printable(first_line(error))})") from error
        bases = content.get(BASE, []) if isinstance(content, dict) else []
        for base in bases if isinstance(bases, list) else [bases]:
            if not isinstance(base, str) or "://" in base:
                raise TttvError(f"{shown}: is built on {printable(base)}, which is not downloaded; save it beside it")
            todo.append(file.parent / Path(base).expanduser())
    raise TttvError(f"{shown}: is built on more than {MOST_BASES} other configs ({BASE}), or on itself")


def _read_config(path: Path) -> Any:
    try:
        from detectron2.config import get_cfg
    except ImportError as error:
        raise TttvError(
            "detectron2 is not installed; run python -m pip install --no-build-isolation "
            f"'git+https://github.com/facebookresearch/detectron2.git' ({printable(first_line(error))})"
        ) from error
    for logger in ("detectron2", "fvcore", "torch.fx"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    config = get_cfg()
    try:
        # By default detectron2 runs the code that tags in a config ask for.
        config.merge_from_file(str(path), allow_unsafe=False)
    except Exception as error:  # Of YAML, of files, of unknown keys and of wrong types.
        raise TttvError(f"{printable(path)}: is no config of detectron2 ({printable(first_line(error))})") from error
    config.MODEL.DEVICE = "cpu"  # It is moved later.
    return config


def _tasks(config: Any, shown: str) -> tuple[str, ...]:
    architecture = config.MODEL.META_ARCHITECTURE
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise TttvError(f"{shown}: is a {printable(architecture)}, which cannot be adapted; known: {known}")
    if architecture == "GeneralizedRCNN" and not config.MODEL.MASK_ON:
        raise TttvError(f"{shown}: finds boxes, not masks (MODEL.MASK_ON); choose a config of Mask R-CNN")
    return ARCHITECTURES[architecture]


def _classes(config: Any, tasks: tuple[str, ...], shown: str) -> tuple[Class, ...]:
    """Things, then stuff. Names and colors are those of the data set that the config names for tests, if it has any."""
    model, metadata = config.MODEL, _metadata(config)
    things: tuple[Class, ...] = ()
    stuff: tuple[Class, ...] = ()
    if "instance" in tasks:
        things = _kinds(metadata, "thing", model.ROI_HEADS.NUM_CLASSES, is_thing=True)
    if tasks != ("instance",):
        stuff = _kinds(metadata, "stuff", model.SEM_SEG_HEAD.NUM_CLASSES, is_thing=False)
    if "panoptic" in tasks:
        stuff = stuff[1:]  # The first stands for all things.
    count = len(things) + len(stuff)
    require_count_of_classes(count, shown, fewest=1)
    return things + stuff


def _metadata(config: Any) -> Any:
    """What detectron2 knows of the config's data set; None if it has no such data set."""
    from detectron2.data import MetadataCatalog

    names = config.DATASETS.TEST
    return MetadataCatalog.get(names[0]) if names and names[0] in MetadataCatalog.list() else None


def _kinds(metadata: Any, sort: str, count: int, is_thing: bool) -> tuple[Class, ...]:
    names: Sequence[str] | None = getattr(metadata, f"{sort}_classes", None)
    if names is None or len(names) != count:
        names = numbered_names(count)
    known = classes_named(names)
    colors = getattr(metadata, f"{sort}_colors", None)
    if colors is None or len(colors) != count:
        colors = [kind.color for kind in known]
    return tuple(Class(name, tuple(color), is_thing) for name, color in zip(names, colors, strict=True))
