"""Companion files: what `tttv weights prepare` found out about a model that stands beside it, untouched.

Importing this does not import torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.core.ranges import require_within
from ttt_cli.core.replacing import replacing
from ttt_cli.core.toml import from_table
from ttt_cli.model.settings import ReconstructionSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ttt_cli.model.split import SplitModel

FORMAT = "tttv-companion-1"
SUFFIX = ".companion.safetensors"
ORDINARY_FEATURES, HEAD, MASK_INPUT, ENCODER = "ordinary_features.", "head.", "mask_input.", "encoder."
"""What the names of the tensors in a companion begin with."""
MOST_MAPS, LARGEST_WIDTH, LARGEST_STRIDE = 16, 8192, 256


@dataclass(frozen=True)
class HeadShape:
    """The shape of a light reconstruction head, see LightHead."""

    channels: tuple[int, ...]
    """Of each of f's maps, finest first."""
    strides: tuple[int, ...]
    """Of each map, in pixels."""
    width: int
    """Channels inside."""

    def __post_init__(self) -> None:
        """Raises UsageError for a shape that no preparation makes, and that could fill any memory."""
        if not 0 < len(self.channels) == len(self.strides) <= MOST_MAPS:
            raise UsageError(f"head must have a stride for each of its maps, of which there are 1 to {MOST_MAPS}")
        for name, largest in (("channels", LARGEST_WIDTH), ("strides", LARGEST_STRIDE)):
            if not all(1 <= number <= largest for number in getattr(self, name)):
                raise UsageError(f"{name} must be within 1 and {largest}")
        require_within(self, 1, LARGEST_WIDTH, "width")


@dataclass(frozen=True)
class Companion:
    """The record of a companion file."""

    fingerprint: str
    """Of the weights that it belongs to."""
    pictures: int
    """How many pictures it was made from."""
    ordinary: PictureStatistics
    """Of these pictures."""
    head: HeadShape | None = None
    """Of g; None if the weights were prepared without it."""
    reconstruction: ReconstructionSettings = ReconstructionSettings()
    """How g was trained."""
    has_encoder: bool = True
    """Whether g comes with an f that preparation made; in joint training f became that of the weights themselves."""
    adaptation: dict[str, Any] = field(default_factory=dict)
    """Settings of test-time training that were chosen for the weights, in place of the usual ones for prepared ones."""
    visible_only: bool = False
    """Whether f encodes only what is shown of a masked picture, see SplitModel.encode_visible_only."""

    def apply(self, path: Path, model: SplitModel) -> None:
        """Adds to a model what the companion at `path` holds. Its fixed predictions stay the same, bit for bit."""
        from ttt_cli.model.checksum import read_tensors, require_finite
        from ttt_cli.model.feature_statistics import FeatureStatistics

        try:
            tensors, _ = read_tensors(path)
            require_finite(tensors.items(), path)
            model.ordinary_features = FeatureStatistics.read(tensors, ORDINARY_FEATURES)
            if self.head is not None:
                self._add_head(model, self.head, tensors)
        except TttvError:
            raise
        except Exception as error:  # Damaged records and tensors raise almost any exception.
            cause, *_ = str(error).splitlines() or [type(error).__name__]
            raise TttvError(f"{printable(path)}: is damaged ({printable(cause)})") from error

    def _add_head(self, model: SplitModel, shape: HeadShape, tensors: Mapping[str, Tensor]) -> None:
        from ttt_cli.model.light_head import LightHead

        head = LightHead(shape.channels, shape.width, shape.strides)
        head.load_state_dict(_within(tensors, HEAD))
        model.reconstruction_head = head.eval()
        model.add_mask_input(_within(tensors, MASK_INPUT))
        if self.visible_only:
            model.encode_visible_only()
        if self.has_encoder:
            model.prepared_encoder = _within(tensors, ENCODER)


def companion_path(weights: Path) -> Path:
    """Where the companion of weights is: beside a file, within a folder."""
    return weights / f"tttv{SUFFIX}" if weights.is_dir() else weights.with_suffix(SUFFIX)


def read_companion(path: Path) -> Companion | None:
    """The record of a companion file, None if there is no such file. Raises TttvError if it is none."""
    if not path.is_file():
        return None
    shown = printable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise TttvError(f"{shown}: not a companion file of this version of tttv; prepare the weights again")
        return from_table(Companion, json.loads(metadata["record"]), "companion")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
        raise TttvError(f"{shown}: is damaged ({printable(error)}); prepare the weights again") from error


def write_companion(path: Path, companion: Companion, tensors: Mapping[str, Tensor]) -> None:
    """Writes a companion file through a temporary one. tensors: by names that begin as the constants here say."""
    from safetensors.torch import save_file

    from ttt_cli.model.checksum import KEY, checksum_of

    record = json.dumps(dataclasses.asdict(companion))
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path, remedy="copy the weights elsewhere") as temporary:
        save_file(whole, temporary, metadata={"format": FORMAT, "record": record, KEY: checksum_of(record, whole)})
        temporary.chmod(0o644)  # safetensors lets only the owner read its files; these may be shared.


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are named in a companion."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _within(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
