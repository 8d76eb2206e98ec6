"""The published file of Zhang et al.'s color network, which torch.save wrote. Importing this does not import torch."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_cli.core.checksum import sha256
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.model.weights import Weights

if TYPE_CHECKING:
    from ttt_cli.model.published.zhang import ZhangModel
    from ttt_cli.model.split import SplitModel

BEGINNINGS = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
"""Of the files of torch.save, since version 1.6 and before. In safetensors they would announce a header too long."""
LONGEST_CAUSE = 120
"""Characters of PyTorch's own message that an error repeats."""


@dataclass(frozen=True)
class ZhangWeights(Weights):
    """The network as published, or as adapted and saved by us."""

    @property
    def recommended(self) -> dict[str, dict[str, Any]]:
        """Colors are left as the network says them: it was trained to be vivid."""
        tables = super().recommended
        tables["task"]["saturation"] = 1.0
        return tables

    @property
    def encoder(self) -> str:
        """The name of the network in its authors' code."""
        return "eccv16"

    def load_alone(self) -> ZhangModel:
        """The network, in eval mode. Raises TttvError if the file is damaged or of another network."""
        return _model(self.path)

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes a file like the published one, through a temporary file."""
        import torch

        from ttt_cli.model.published.zhang import ZhangModel

        assert isinstance(model, ZhangModel), "load gives no other"
        with replacing(path) as temporary:
            torch.save(model.tensors(), temporary)

    def fingerprint(self) -> str:
        """The checksum of the file."""
        return sha256(self.path)


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as those of torch.save do. False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(BEGINNINGS[0])) in BEGINNINGS
    except OSError:
        return False


def read_zhang(path: Path) -> ZhangWeights:
    """The record of a file of torch.save. Raises TttvError if it is damaged or of another network."""
    from ttt_cli.model.settings import ReconstructionSettings

    _model(path)
    return ZhangWeights(
        path=path,
        name=path.name,
        tasks=("colorization",),
        classes=(),
        license="BSD-2-Clause (richzhang/colorization)",
        reconstruction=ReconstructionSettings(),
        adaptation={"method": "joint"},
        has_reconstruction=False,
    )


def _model(path: Path) -> ZhangModel:
    import torch

    from ttt_cli.model.published.checkpoint import read_tensors
    from ttt_cli.model.published.zhang import Widths, ZhangModel

    tensors = read_tensors(path)
    try:
        with torch.device("meta"):  # No layer is initialized only to be replaced.
            model = ZhangModel(Widths.of(tensors))
        model.fill(tensors)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        cause = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise TttvError(
            f"{printable(path)}: is not the color network of Zhang et al. 2016 (eccv16), the only file of PyTorch that "
            f"can be used here ({printable(textwrap.shorten(cause, LONGEST_CAUSE))})"
        ) from error
    return model.float().eval()
