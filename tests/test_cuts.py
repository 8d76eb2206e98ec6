"""Scene cuts are found where they are, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import noise_frames, video_of
from shared_data import shared

from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.frame import Frame
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.video.cuts import Cuts
from ttt_cli.video.reader import open_video


def cuts_in(path: Path) -> list[int]:
    cuts = Cuts()
    return [frame.index for frame in open_video(str(path)).frames() if cuts.begins_scene(frame.image)]


def test_a_cut_is_one_frame_and_fast_motion_is_not_a_cut() -> None:
    still, second = (frame.image for frame in noise_frames(2))
    cuts = Cuts()
    begins = [cuts.begins_scene(image) for image in (still, still, still, second, second, second)]
    assert begins == [False, False, False, True, False, False]
    cuts = Cuts()
    assert not any(cuts.begins_scene(frame.image) for frame in noise_frames(20)), "every frame is a new one"


def test_a_fade_is_not_a_cut() -> None:
    image = noise_frames(1)[0].image.float()
    cuts = Cuts()
    assert not any(cuts.begins_scene((image * share / 20).to(torch.uint8)) for share in range(20))


def test_the_window_is_emptied_at_a_cut(tiny_model: TwoHeadedModel) -> None:
    first, second = (frame.image for frame in noise_frames(2))
    images = [first, first, first, second, second]
    frames = [Frame(index, f"{index:06d}", index / 10, image) for index, image in enumerate(images)]
    for cuts, expected in (("reset", [1, 2, 3, 1, 2]), ("ignore", [1, 2, 3, 4, 5])):
        settings = AdaptationSettings(cuts=cuts)  # type: ignore[arg-type]
        adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), torch.device("cpu"))
        seen = [(result.cut, len(adapter.window.images)) for result in adapt(video_of(frames), adapter)]
        assert [length for _, length in seen] == expected
        assert [index for index, (cut, _) in enumerate(seen) if cut] == ([3] if cuts == "reset" else [])


@pytest.mark.parametrize(
    ("path", "expected"),
    [("data/clips/lumiere.mp4", [202]), ("data/clips/chaplin.mp4", []), ("data/clips/sam2_01_dog.mp4", [])],
)
def test_real_films(path: str, expected: list[int]) -> None:
    assert cuts_in(shared(path)) == expected


@pytest.mark.parametrize(
    "folder", ["data/camvid/video_0016E5_15hz/images", "data/davis16/images/drift-straight", "data/davis16/images/dog"]
)
def test_real_motion_is_not_a_cut(folder: str) -> None:
    assert cuts_in(shared(folder)) == []
