"""What a weights file says of its model. Torch is not needed to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ttt_cli.core.errors import UsageError

Target = Literal["pixels", "image", "patch"]
LossOn = Literal["hidden", "all"]


@dataclass(frozen=True)
class EncoderSize:
    """Which encoder: the name of a timm model, or "swin" with the sizes below (built by transformers).

    The defaults of the Swin fields are Swin-S, the paper's encoder.
    """

    name: str = "tf_efficientnet_lite0"
    swin_channels: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_attention_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    swin_drop_path: float = 0.3


@dataclass(frozen=True)
class HeadSize:
    """Sizes of one Mask2Former head: pixel decoder (deformable attention + FPN) and masked-attention decoder.

    queries: mask queries; the reconstruction head has 48 whatever stands here.
    channels: width of both decoders, a multiple of 32 (their group normalization has 32 groups).
    """

    queries: int = 40
    channels: int = 64
    attention_heads: int = 4
    pixel_decoder_layers: int = 2
    pixel_decoder_feedforward: int = 128
    decoder_layers: int = 3
    decoder_feedforward: int = 256


@dataclass(frozen=True)
class ModelSize:
    """Everything that fixes the shapes of a model's tensors; written into every weights file.

    size_divisor: images are padded at the right and lower edge to a multiple of this many pixels.
    color_outputs: channels of a color head, which takes the place of mask queries; 0 for mask queries.
    """

    encoder: EncoderSize = EncoderSize()
    main_head: HeadSize = HeadSize()
    reconstruction_head: HeadSize = HeadSize()
    size_divisor: int = 4
    color_outputs: int = 0


@dataclass(frozen=True)
class ReconstructionSettings:
    """How an image is hidden and what g has to say of it. It belongs to the weights: g was trained for one choice.

    mask_ratio: share of the patches hidden (paper: 0.8; the authors' release: 0.85).
    patch_pixels: side of a patch.
    target: "pixels" are the network's normalized inputs (paper and release); "image" takes out each image's own mean
        and deviation per channel, so that g asks f for features that do not depend on exposure and white balance;
        "patch" does the same for each patch (He et al. 2021).
    loss_on: "hidden" patches alone (paper) or "all" pixels (release).
    familiar_loss: what l_s is on stills held out of the training, on average; None where nobody measured it.
    """

    mask_ratio: float = 0.8
    patch_pixels: int = 16
    target: Target = "pixels"
    loss_on: LossOn = "hidden"
    familiar_loss: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask ratio must lie between 0 and 1, not {self.mask_ratio}")
        if self.patch_pixels < 1:
            raise UsageError(f"a patch must have at least one pixel, not {self.patch_pixels}")
