"""The settings of a model, stored in its weights file. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ttt_cli.core.errors import UsageError

Target = Literal["pixels", "image", "patch"]
LossOn = Literal["hidden", "all"]


@dataclass(frozen=True)
class EncoderSize:
    """Which encoder, and its sizes. The defaults of the Swin fields are Swin-S, the paper's encoder."""

    name: str = "tf_efficientnet_lite0"
    """A timm model, or "swin" with the sizes below (built by transformers)."""
    swin_channels: int = 96
    """Width of the first stage; it doubles with each stage."""
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    """Blocks of each stage."""
    swin_attention_heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attention heads of each stage."""
    swin_window: int = 7
    """Side of an attention window, in patches."""
    swin_drop_path: float = 0.3
    """Largest rate at which blocks are dropped in training."""


@dataclass(frozen=True)
class HeadSize:
    """Sizes of one Mask2Former head: pixel decoder (deformable attention + FPN) and masked-attention decoder."""

    queries: int = 40
    """Mask queries. The reconstruction head always has 48."""
    channels: int = 64
    """Width of both decoders, a multiple of 32 (their group normalization has 32 groups)."""
    attention_heads: int = 4
    pixel_decoder_layers: int = 2
    pixel_decoder_feedforward: int = 128
    decoder_layers: int = 3
    decoder_feedforward: int = 256


@dataclass(frozen=True)
class ModelSize:
    """Everything that determines the shapes of a model's tensors; written into every weights file."""

    encoder: EncoderSize = EncoderSize()
    main_head: HeadSize = HeadSize()
    reconstruction_head: HeadSize = HeadSize()
    size_divisor: int = 4
    """Images are padded at the right and lower edges to a multiple of this many pixels."""
    color_outputs: int = 0
    """Channels of a color head, which replaces the mask queries; 0 for mask queries."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """How images are masked, and what g reconstructs. Part of the weights, since g was trained for these settings."""

    mask_ratio: float = 0.8
    """Share of the patches hidden (paper: 0.8; the authors' release: 0.85)."""
    patch_pixels: int = 16
    """Side of a patch."""
    target: Target = "pixels"
    """What g reconstructs: "pixels" are the network's normalized inputs (paper and release).

    "image" removes each image's mean and deviation per channel, so that f's features need not depend on exposure and
    white balance; "patch" does the same for each patch (He et al. 2021).
    """
    loss_on: LossOn = "hidden"
    """Only the "hidden" patches (paper) or "all" pixels (release)."""
    familiar_loss: float | None = None
    """Mean l_s on stills held out of the training; None if it was not measured."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask ratio must lie between 0 and 1, not {self.mask_ratio}")
        if self.patch_pixels < 1:
            raise UsageError(f"a patch must have at least one pixel, not {self.patch_pixels}")
