"""Color spaces: sRGB, and CIE Lab under D65, which separates lightness L from chroma a, b."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.area import Area
from ttt_cli.core.labels import Chroma

# IEC 61966-2-1: the matrix from linear RGB to XYZ, and the XYZ of white, RGB (1, 1, 1).
XYZ_OF_RGB = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.9504700, 1.0000001, 1.0888300)
# In Lab units: mean distance of a picture's chroma from its average, up to which it counts as black and white.
# The lumiere film, tinted and compressed, stays below 2.7.
FAINTEST_COLORS = 3.0
# CIE: below KNEE**3 a straight line replaces the cube root.
KNEE = 6 / 29


def lab_of(images: Tensor) -> Tensor:
    """Converts RGB in 0..255, uint8 or float (..., 3, H, W), to Lab, float32: L in 0..100, a and b about -110..110."""
    values = images.float() / 255
    linear = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = _mixed(linear, XYZ_OF_RGB) / _column(WHITE, linear)
    root = torch.where(xyz > KNEE**3, xyz.clamp(min=1e-8) ** (1 / 3), xyz / (3 * KNEE**2) + 4 / 29)
    x, y, z = root.unbind(dim=-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def rgb_of(lab: Tensor) -> Tensor:
    """Converts Lab back to RGB: uint8 (..., 3, H, W). Colors outside sRGB are clipped."""
    lightness, a, b = lab.unbind(dim=-3)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], dim=-3)
    xyz = torch.where(root > KNEE, root**3, 3 * KNEE**2 * (root - 4 / 29)) * _column(WHITE, root)
    rgb_of_xyz = torch.linalg.inv(torch.tensor(XYZ_OF_RGB, dtype=torch.float64)).tolist()
    linear = _mixed(xyz, rgb_of_xyz).clamp(0, 1)
    values = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (values * 255).round().to(torch.uint8)


def gray_of(images: Tensor) -> Tensor:
    """The images in gray of the same lightness, on three channels: uint8 (..., 3, H, W)."""
    lab = lab_of(images)
    lab[..., 1:, :, :] = 0
    return rgb_of(lab)


def is_colored(image: Tensor) -> bool:
    """Whether an image, uint8 RGB (3, H, W), is in color. Tinted film counts as black and white."""
    chroma = lab_of(image)[1:]
    return float((chroma - chroma.mean(dim=(1, 2), keepdim=True)).norm(dim=0).mean()) > FAINTEST_COLORS


def colored(image: Tensor, chroma: Chroma) -> Tensor:
    """An image, uint8 RGB (3, H, W), with its own lightness and `chroma`; gray outside its area."""
    lightness = lab_of(image)[:1]
    ab = torch.zeros(2, *image.shape[-2:])
    area = chroma.area or Area(0, 0, *image.shape[-2:])
    area.of(ab)[:] = guided(chroma.ab, area.of(lightness)[0])
    return rgb_of(torch.cat([lightness, ab]))


def guided(chroma: Tensor, lightness: Tensor, radius: int = 1, softness: float = 5.0) -> Tensor:
    """Enlarges chroma to the size of a picture, with edges where the picture has them (He et al. 2013).

    chroma: float (C, h, w). lightness: L of the picture, float (H, W). radius: of the windows, in pixels of the chroma.
    softness: lightness differences below its square root are not edges. In each window chroma is a linear function
    of lightness, fitted at the small size and applied at the large one.
    """
    height, width = lightness.shape
    small = functional.interpolate(lightness[None, None], size=chroma.shape[-2:], mode="area")
    values = chroma[:, None]
    mean_l, mean_c = _box(small, radius), _box(values, radius)
    variance = _box(small * small, radius) - mean_l * mean_l
    slope = (_box(small * values, radius) - mean_l * mean_c) / (variance + softness)
    offset = mean_c - slope * mean_l
    slope, offset = (
        functional.interpolate(_box(coefficient, radius), size=(height, width), mode="bilinear", align_corners=False)
        for coefficient in (slope, offset)
    )
    return (slope * lightness + offset)[:, 0]


def _box(values: Tensor, radius: int) -> Tensor:
    """The mean of the window around each pixel, (B, 1, H, W); windows are cut off at the edges."""
    side = 2 * radius + 1
    return functional.avg_pool2d(values, side, stride=1, padding=radius, count_include_pad=False)


def _mixed(values: Tensor, matrix: tuple[tuple[float, ...], ...] | list[list[float]]) -> Tensor:
    return torch.einsum("kc,...chw->...khw", torch.tensor(matrix, dtype=values.dtype, device=values.device), values)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)
