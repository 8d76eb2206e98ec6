"""Models of segmentation_models_pytorch (smp), in folders as its `save_pretrained` writes them: DeepLabV3+ and others.

Their encoders are those of timm, or of smp itself. A config is not trusted: it chooses among what smp and timm have,
within bounds, and nothing that it names is downloaded.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ttt_cli.core.ade20k_classes import ADE20K
from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.known_classes import classes_named
from ttt_cli.core.voc_classes import VOC
from ttt_cli.model.published.checkpoint import fill, read_tensors
from ttt_cli.model.published.foreign import ForeignWeights, first_line, numbered_names, require_count_of_classes
from ttt_cli.model.published.plausible import LONGEST_VALUE
from ttt_cli.model.published.smp_model import SmpModel
from ttt_cli.model.published.smp_processing import PREPROCESSING, Preprocessing, SmpProcessing, read_preprocessing
from ttt_cli.model.published.snapshot import CARD, CONFIG, SAFETENSORS, SMP_CLASS, Snapshot, fingerprint
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel

ARCHITECTURES = (
    "DeepLabV3Plus",
    "DeepLabV3",
    "FPN",
    "Linknet",
    "MAnet",
    "PAN",
    "PSPNet",
    "Segformer",
    "UPerNet",
    "Unet",
    "UnetPlusPlus",
)
"""All of smp but DPT, whose encoder takes pictures of one size."""
OLDER_OPTIONS = ("decoder_use_batchnorm",)
"""Options that configs of earlier versions have, and smp still takes."""
LARGEST_NUMBER = 4096
"""In a config: more channels than any model has."""
LONGEST_LIST = 16
DATA_SETS: dict[str, tuple[Class, ...]] = {"ade": ADE20K, "cityscapes": CITYSCAPES, "voc": VOC}
"""Whose classes a model has whose card names such a data set, if it has as many."""


@dataclass(frozen=True, kw_only=True)
class SmpWeights(ForeignWeights):
    """A model of segmentation_models_pytorch."""

    snapshot: Snapshot
    architecture: str
    """The name of its class in smp."""
    options: dict[str, Any]
    """What its class is made with, without pretrained weights and activation."""
    preprocessing: Preprocessing

    @property
    def encoder(self) -> str:
        """The name of its class, and of its encoder in smp."""
        return f"{self.architecture} {self.options.get('encoder_name', '')}".strip()

    def load_alone(self) -> SmpModel:
        """The model, filled, in eval mode. Raises TttvError if it cannot be built or its tensors do not fit."""
        shown = printable(self.snapshot.source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of options that have newer names, and of tensors, which `fill` tells.
            try:
                model = getattr(_library(), self.architecture)(**self.options)
            except Exception as error:  # Configs can be wrong in every way.
                cause = printable(first_line(error))
                raise TttvError(f"{shown}: its {CONFIG} makes no model ({cause})") from error
            fill(model, self._tensors(), shown)
        return SmpModel(model, self.preprocessing.normalization)

    def processing(self, resizes: bool) -> SmpProcessing:
        """Its preprocessing. resizes: whether frames are brought to the size that it asks for, if it asks for one."""
        return SmpProcessing(self.preprocessing.size if resizes else None)

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes such a folder, with the files that came with the model."""
        from safetensors.torch import save_model

        assert isinstance(model, SmpModel), "load gives no other"
        path.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, CARD, PREPROCESSING):
            if (self.path / name).is_file():
                shutil.copyfile(self.path / name, path / name)
        save_model(model.model, str(path / SAFETENSORS))

    def fingerprint(self) -> str:
        """The checksum of config, tensors and preprocessing."""
        return fingerprint(self.snapshot, PREPROCESSING)

    def identity(self) -> dict[str, str]:
        """What run.json and metrics.json say of the weights: the license too, and the revision of one from the hub."""
        revision = {} if self.snapshot.revision is None else {"revision": self.snapshot.revision}
        return {**super().identity(), "license": self.license, **revision}

    def _tensors(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = {}
        for path in self.snapshot.weights:
            tensors |= read_tensors(path) if self.snapshot.is_pickle else load_file(path)
        return tensors


def read_smp(snapshot: Snapshot) -> SmpWeights:
    """The record of a model of smp. Raises TttvError if its config asks for what is not known here."""
    shown = printable(snapshot.source)
    config = json.loads((snapshot.folder / CONFIG).read_bytes())
    architecture = config[SMP_CLASS]
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise TttvError(
            f"{shown}: is a {printable(str(architecture)[:LONGEST_VALUE])}, which cannot be adapted; known: {known}"
        )
    options = _options(config, architecture, f"{shown}: its {CONFIG}")
    return SmpWeights(
        path=snapshot.folder.absolute(),
        name=snapshot.source,
        tasks=("semantic",),
        classes=_classes(options["classes"], snapshot.folder / CARD, shown),
        license=snapshot.license or "not stated",
        reconstruction=ReconstructionSettings(),
        adaptation={"method": "joint"},
        has_reconstruction=False,
        snapshot=snapshot,
        architecture=architecture,
        options=options,
        preprocessing=read_preprocessing(snapshot.folder / PREPROCESSING, str(options.get("encoder_name", ""))),
    )


def _library() -> Any:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise TttvError(
            "segmentation_models_pytorch is not installed; run python -m pip install 'tttv[smp]' "
            f"({printable(first_line(error))})"
        ) from error
    return segmentation_models_pytorch


def _options(config: Mapping[str, Any], architecture: str, shown: str) -> dict[str, Any]:
    """What the class is made with. shown: how error messages begin."""
    smp = _library()
    known = {*inspect.signature(getattr(smp, architecture).__init__).parameters, *OLDER_OPTIONS} - {"self", "kwargs"}
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    for name, value in options.items():
        # smp hands on what it does not know to timm, which would read any file that it names.
        if name not in known:
            raise TttvError(f"{shown} has {printable(name)}, which {architecture} does not take")
        if not _is_plain(value):
            raise TttvError(f"{shown} has a value for {name} that is too large, or of a wrong kind")
    _check_encoder(options.get("encoder_name"), shown)
    if options.get("in_channels", 3) != 3:
        raise TttvError(
            f"{shown} asks for pictures of {printable(options['in_channels'])} channels; only 3 can be used"
        )
    count = options.get("classes", 1)
    if not isinstance(count, int):
        raise TttvError(f"{shown} does not say how many classes there are")
    if options.get("activation") == "sigmoid" and count > 1:
        raise TttvError(f"{shown} lets a pixel have several classes (sigmoid), which masks cannot show")
    # Probabilities are taken of logits here. Weights are in the folder: none are downloaded for the encoder.
    return {**options, "classes": count, "activation": None, "encoder_weights": None}


def _check_encoder(name: object, shown: str) -> None:
    import timm

    own = _library().encoders.get_encoder_names()
    is_of_timm = isinstance(name, str) and name.startswith(("tu-", "timm-")) and timm.is_model(name.partition("-")[2])
    if name is not None and name not in own and not is_of_timm:
        raise TttvError(
            f"{shown} names the encoder {printable(str(name)[:LONGEST_VALUE])}, which neither smp nor timm has"
        )


def _is_plain(value: object) -> bool:
    """Whether it is a word, a number that is not too large, or a few of these."""
    if isinstance(value, dict):
        return len(value) <= LONGEST_LIST and all(_is_scalar(part) for part in value.values())
    if isinstance(value, list):
        return len(value) <= LONGEST_LIST and all(_is_scalar(part) for part in value)
    return _is_scalar(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, int | float):
        return math.isfinite(value) and 0 <= value <= LARGEST_NUMBER
    return value is None or isinstance(value, str)


def _classes(count: int, card: Path, shown: str) -> tuple[Class, ...]:
    """Those of the data set that the card names, if it has as many, or else numbers.

    A model with one output tells one class from everything else.
    """
    if count == 1:
        return classes_named(["background", *numbered_names(1)])
    require_count_of_classes(count, shown)
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    named = re.search(r"^Dataset name:(.*)$", text, re.MULTILINE)
    for name, classes in DATA_SETS.items():
        if named and name in named[1].lower() and len(classes) == count:
            return classes
    return classes_named(numbered_names(count))
