"""The self-supervised task: masks, targets, and agreement with the authors' release on recorded values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shared_data import shared

from ttt_cli.adaptation.masking import random_visible
from ttt_cli.adaptation.reconstruction import pixels_of, squared_error, target_of
from ttt_cli.core.errors import UsageError
from ttt_cli.model.encoder import PIXEL_MEAN, PIXEL_STANDARD_DEVIATION
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import pixels_from_queries

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_release_losses_and_pixel_order_on_recorded_head_output() -> None:
    golden = np.load(shared("golden/video_ttt_tiny.npz"))
    image = torch.from_numpy(golden["image"])[None]
    visible = torch.from_numpy(golden["mask"])[None].float()
    reconstruction = pixels_from_queries(torch.from_numpy(golden["recon_pred_masks"]))
    target = target_of(image, ReconstructionSettings())
    for loss_on, name in (("all", "loss_recon_all_pixels"), ("hidden", "loss_recon_masked_patches")):
        assert float(squared_error(reconstruction, target, visible, loss_on)) == pytest.approx(
            float(golden[name]), abs=1e-4
        )

    mean, deviation = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STANDARD_DEVIATION)
    shown = reconstruction[0] * deviation.view(3, 1, 1) + mean.view(3, 1, 1)
    torch.testing.assert_close(shown.clamp(0, 255), torch.from_numpy(golden["reconstruction"]), atol=1e-4 * 255, rtol=0)


def test_mask_hides_the_right_share_in_whole_patches_and_differs_between_images() -> None:
    visible = random_visible(4, (64, 96), 16, 0.75, generator(), CPU)
    assert visible.shape == (4, 1, 64, 96)
    patches = visible.view(4, 4, 16, 6, 16).mean(dim=(2, 4))
    assert set(patches.unique().tolist()) == {0.0, 1.0}
    assert patches.sum(dim=(1, 2)).tolist() == [6.0] * 4
    assert len({tuple(patch.flatten().tolist()) for patch in patches}) == 4


def test_mask_covers_sizes_that_are_not_a_multiple_of_the_patch() -> None:
    visible = random_visible(1, (50, 70), 16, 0.8, generator(), CPU)
    assert visible.shape == (1, 1, 50, 70)
    assert 0 < float(visible.mean()) < 1


def test_same_seed_same_mask() -> None:
    first, second = (random_visible(2, (64, 64), 16, 0.8, generator(3), CPU) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, random_visible(2, (64, 64), 16, 0.8, generator(4), CPU))


@pytest.mark.parametrize("target", ["image", "patch"])
def test_relative_targets_do_not_see_exposure_and_white_balance(target: str) -> None:
    image = torch.rand(1, 3, 64, 64, generator=generator()) * 120 + 60
    settings = ReconstructionSettings(target=target)  # type: ignore[arg-type]
    darker = image * torch.tensor([0.5, 0.4, 0.6]).view(1, 3, 1, 1) + 10
    torch.testing.assert_close(target_of(image, settings), target_of(darker, settings), atol=3e-2, rtol=0)


@pytest.mark.parametrize("target", ["pixels", "image", "patch"])
def test_the_target_shown_as_pixels_is_the_image(target: str) -> None:
    images = torch.randint(0, 256, (2, 3, 40, 56), generator=generator(), dtype=torch.uint8)
    settings = ReconstructionSettings(target=target)  # type: ignore[arg-type]
    assert torch.equal(pixels_of(target_of(images, settings), images, settings), images)


def test_a_black_frame_has_a_finite_target() -> None:
    for target in ("pixels", "image", "patch"):
        settings = ReconstructionSettings(target=target)  # type: ignore[arg-type]
        assert torch.isfinite(target_of(torch.zeros(1, 3, 40, 40), settings)).all()


def test_hidden_loss_ignores_what_is_shown() -> None:
    visible = random_visible(1, (32, 32), 16, 0.5, generator(), CPU)
    target = torch.zeros(1, 3, 32, 32)
    assert float(squared_error(visible.expand(1, 3, 32, 32), target, visible, "hidden")) == 0.0
    assert float(squared_error(visible.expand(1, 3, 32, 32), target, visible, "all")) == pytest.approx(0.5)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_mask_ratio_out_of_range(ratio: float) -> None:
    with pytest.raises(UsageError, match="mask ratio"):
        ReconstructionSettings(mask_ratio=ratio)
