"""Color spaces against published values, and chroma that follows the edges of the picture."""

from __future__ import annotations

import pytest
import torch

from ttt_cli.core.color import gray_of, guided, lab_of, rgb_of


def pixel(*rgb: int) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0.0, 0.0)),
    ],
)
def test_lab_has_the_published_values(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    assert lab_of(pixel(*rgb)).flatten().tolist() == pytest.approx(lab, abs=0.02)


def test_every_color_comes_back() -> None:
    images = torch.randint(0, 256, (2, 3, 40, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(rgb_of(lab_of(images)), images)


def test_gray_keeps_the_lightness_and_nothing_else() -> None:
    images = torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    gray = gray_of(images)
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[1], gray[2])
    assert (lab_of(gray)[0] - lab_of(images)[0]).abs().max() < 0.3
    assert torch.equal(gray_of(gray), gray)


def test_chroma_ends_where_the_picture_has_an_edge() -> None:
    lightness = torch.full((64, 96), 30.0)
    lightness[:, 43:] = 80.0
    chroma = torch.zeros(2, 16, 24)
    chroma[0, :, 11:] = 60.0  # The edge is at 44 of 96; chroma cannot be any finer.
    enlarged = guided(chroma, lightness, radius=2)
    assert enlarged.shape == (2, 64, 96)
    step = enlarged[0, 32, 44] - enlarged[0, 32, 41]
    assert step > 45, "within three pixels"
    assert enlarged[1].abs().max() == 0


def test_chroma_without_edges_in_the_picture_stays_smooth() -> None:
    chroma = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) * 40
    enlarged = guided(chroma, torch.full((50, 70), 50.0))
    assert enlarged.shape == (2, 50, 70)
    assert enlarged.mean() == pytest.approx(float(chroma.mean()), abs=3)
    assert (enlarged[:, 1:] - enlarged[:, :-1]).abs().max() < 3
