"""The settings of a model, stored in its weights file. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.ranges import require_share, require_within

Target = Literal["pixels", "image", "patch"]
LossOn = Literal["hidden", "all"]

ENCODERS = (
    *("swin", "test_efficientnet", "test_resnet"),
    *(f"tf_efficientnet_lite{size}" for size in range(5)),
    *(f"efficientnet_b{size}" for size in range(5)),
    *("mobilenetv3_large_100", "resnet18", "resnet34", "resnet50", "resnet101"),
    *("convnext_tiny", "convnext_small", "convnext_base"),
)
"""Names that a file may give. timm would take others too, look for some on the network, and build any size."""
LARGEST_WIDTH = 4096
MOST_LAYERS = 64
SWIN_STAGES = 4


@dataclass(frozen=True)
class EncoderSize:
    """Which encoder, and its sizes. The defaults of the Swin fields are Swin-S, the paper's encoder."""

    name: str = "tf_efficientnet_lite0"
    """One of ENCODERS: a timm model, or "swin" with the sizes below (built by transformers)."""
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

    def __post_init__(self) -> None:
        if self.name not in ENCODERS:
            raise UsageError(f"encoder {printable(self.name)!r} is unknown; {choices(self.name, ENCODERS)}")
        if not len(self.swin_depths) == len(self.swin_attention_heads) == SWIN_STAGES:
            raise UsageError(f"swin_depths and swin_attention_heads must be {SWIN_STAGES} numbers each")
        if not all(1 <= number <= MOST_LAYERS for number in (*self.swin_depths, *self.swin_attention_heads)):
            raise UsageError(f"swin_depths and swin_attention_heads must be within 1 and {MOST_LAYERS}")
        require_within(self, 1, LARGEST_WIDTH // 8, "swin_channels")
        require_within(self, 1, MOST_LAYERS, "swin_window")
        require_share(self, "swin_drop_path")
        for stage, heads in enumerate(self.swin_attention_heads):
            if self.swin_channels * 2**stage % heads:
                raise UsageError(f"swin_channels {self.swin_channels} cannot be split among {heads} attention heads")


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

    def __post_init__(self) -> None:
        require_within(self, 1, LARGEST_WIDTH, "queries", "pixel_decoder_feedforward", "decoder_feedforward")
        require_within(self, 32, LARGEST_WIDTH, "channels")
        require_within(self, 1, MOST_LAYERS, "attention_heads", "pixel_decoder_layers", "decoder_layers")
        if self.channels % 32 or self.channels % self.attention_heads:
            raise UsageError(f"channels must be a multiple of 32 and of attention_heads, not {self.channels}")


@dataclass(frozen=True)
class ModelSize:
    """Everything that determines the shapes of a model's tensors; written into every weights file."""

    encoder: EncoderSize = EncoderSize()
    main_head: HeadSize = HeadSize()
    reconstruction_head: HeadSize = HeadSize()
    light_head_width: int = 0
    """Channels inside a light reconstruction head (model/light_head.py), which replaces the mask queries; 0: none."""
    size_divisor: int = 4
    """Images are padded at the right and lower edges to a multiple of this many pixels."""
    color_outputs: int = 0
    """Channels of a color head, which replaces the mask queries; 0 for mask queries."""

    def __post_init__(self) -> None:
        require_within(self, 1, LARGEST_WIDTH, "size_divisor")
        require_within(self, 0, LARGEST_WIDTH, "color_outputs", "light_head_width")

    def has_same_f_and_h(self, other: ModelSize) -> bool:
        """Whether models of both sizes have f and h of the same shapes, whatever their g."""
        with_its_g = replace(
            self, reconstruction_head=other.reconstruction_head, light_head_width=other.light_head_width
        )
        return with_its_g == other


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
        require_within(self, 1, LARGEST_WIDTH, "patch_pixels")
