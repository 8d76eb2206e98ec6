"""Joint training on a made-up data set: it learns, resumes, and looks ahead."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from label_fixtures import make_folder
from PIL import Image
from training_fixtures import made_up_recipe as recipe
from training_fixtures import make_drive

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.core.errors import TttvError
from ttt_cli.core.exposure import exposure_matched
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.opening import open_weights
from ttt_cli.model.queries import class_probabilities
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.training.augmentation import Augmentation, augment, draw_view
from ttt_cli.training.joint import Trainer
from ttt_cli.training.look_ahead import Ahead, LookAhead, shift
from ttt_cli.training.losses import overlap_loss, overlap_sums
from ttt_cli.training.matching import mask_targets
from ttt_cli.training.objectives import Segmentation
from ttt_cli.training.parts import Part, Terms
from ttt_cli.training.recipe import LookAheadSettings, main_only
from ttt_cli.training.sources import StillsSource, load_split
from ttt_cli.training.sources.camvid import THINGS, camvid
from ttt_cli.training.sources.pennfudan import PEDESTRIAN, pennfudan
from ttt_cli.training.stills import Still

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_drive(tmp_path_factory.mktemp("data"))


def trainer(data: Path, steps: int, look_ahead_steps: int = 0) -> Trainer:
    settings = recipe(steps, look_ahead_steps)
    return Trainer(settings, load_split(settings.sources, data), CPU)


def first_still(data: Path) -> Still:
    return camvid(data / "drive", "train").readers[0]()


def test_held_out_stills_and_the_gap_before_them_are_not_trained_on(data: Path) -> None:
    split = load_split(recipe(1).sources, data)
    assert [still.name for still in split.trained.stills] == ["000", "001", "002"]
    assert [still.name for still in split.held_out["drive"]] == ["004", "005"]


def test_things_become_instances_and_void_is_not_a_target(data: Path) -> None:
    still = first_still(data)
    assert int((still.classes == VOID).sum()) == 4 * 96
    classes, masks = mask_targets(still, THINGS)
    assert [CAMVID[index].name for index in classes.tolist()] == ["sky", "road", "car", "car"]
    assert masks.sum(dim=(1, 2)).tolist() == [36 * 96, 40 * 96 - 400, 200, 200]


@pytest.fixture
def pedestrians(tmp_path: Path) -> Path:
    """One picture with two pedestrians, as docs/data.md lays it out."""
    people = np.zeros((80, 96), dtype=np.uint8)
    people[10:50, 10:20], people[10:50, 60:70] = 1, 2
    for kind, picture in (("images", np.zeros((80, 96, 3), np.uint8)), ("labels", people)):
        (tmp_path / "pennfudan" / kind).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "pennfudan" / kind / "a.png")
    return tmp_path / "pennfudan"


def test_pennfudan_as_downloaded_teaches_pedestrians_alone(pedestrians: Path, caplog: pytest.LogCaptureFixture) -> None:
    (still,) = (read() for read in pennfudan(pedestrians, "train").readers)
    assert torch.unique(still.classes).tolist() == [PEDESTRIAN, VOID]
    assert ((still.classes == PEDESTRIAN) == (still.instances > 0)).all()
    assert mask_targets(still, THINGS)[0].tolist() == [PEDESTRIAN, PEDESTRIAN]
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "street_labels_machine: there is no such folder" in record.getMessage()


def test_pennfudan_takes_what_is_around_the_pedestrians_from_machine_labels(
    pedestrians: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = np.zeros((80, 96), dtype=np.uint8)
    classes[60:70, 30:50] = 8
    classes[10:50, 10:20] = classes[10:50, 60:70] = PEDESTRIAN
    (pedestrians / "street_labels_machine").mkdir()
    Image.fromarray(classes).save(pedestrians / "street_labels_machine" / "a.png")
    (still,) = (read() for read in pennfudan(pedestrians, "train").readers)
    assert (still.classes == torch.from_numpy(classes)).all() and not caplog.records
    assert mask_targets(still, THINGS)[0].tolist() == [0, 8, PEDESTRIAN, PEDESTRIAN]


def test_a_batch_without_any_label_has_a_finite_loss(data: Path) -> None:
    one = trainer(data, steps=1)
    still = first_still(data)
    nothing = dataclasses.replace(
        still, classes=torch.full_like(still.classes, VOID), instances=torch.zeros_like(still.instances)
    )
    loss = one.objective.loss(one.objective(one.model, still.image[None].float(), Part([nothing])))
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in one.model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_augmentation_cuts_image_and_labels_alike(data: Path) -> None:
    still = first_still(data)
    settings, generator = Augmentation(crop_height=64, crop_width=64, color=0.0), torch.Generator().manual_seed(0)
    for _ in range(5):
        view = augment(still, settings, draw_view(settings, generator))
        assert view.image.shape == (3, 64, 64)
        red = (view.image[0] > 150) & (view.image[1] < 100)
        agreement = (red == (view.classes == 8)).float().mean()
        assert agreement > 0.95


def test_a_share_of_the_pictures_has_its_exposure_matched(data: Path) -> None:
    still = first_still(data)
    bright = PictureStatistics((200.0, 200.0, 200.0), (20.0, 20.0, 20.0))
    settings = Augmentation(crop_height=64, crop_width=64, color=0.0, ordinary=bright, matched=0.5)
    generator = torch.Generator().manual_seed(0)
    views = [augment(still, settings, draw_view(settings, generator)) for _ in range(40)]
    matched = [float(view.image.mean()) > 180 for view in views]
    assert 10 <= sum(matched) <= 30
    assert float(still.image.float().mean()) < 150


def test_overlap_loss_counts_a_small_class_as_much_as_a_large_one() -> None:
    truth = torch.zeros(1, 10, 10, dtype=torch.int64)
    truth[0, 0, :4] = 1
    truth[0, 9] = VOID
    right = torch.nn.functional.one_hot(truth.clamp(max=2), 3).movedim(-1, 1).float()
    assert float(overlap_loss(overlap_sums(right, truth))) == pytest.approx(0.0)
    all_zero = torch.zeros_like(right)
    all_zero[:, 0] = 1
    # Class 0: 86 of 86 pixels found, 90 claimed. Class 1: none found. Class 2 is not in the image.
    assert float(overlap_loss(overlap_sums(all_zero, truth))) == pytest.approx(1 - (2 * 86 / 176) / 2)


def test_training_lowers_both_losses(data: Path, tmp_path: Path) -> None:
    progress = list(trainer(data, 40).run(tmp_path / "last.ckpt"))
    assert sum(step.losses.main for step in progress[-5:]) < 0.7 * sum(step.losses.main for step in progress[:5])
    assert progress[-1].losses.reconstruction < progress[0].losses.reconstruction
    assert set(progress[-1].scores or {}) == {"miou_clean", "miou_low_light"}


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_resuming_gives_the_same_bits_as_going_through(data: Path, tmp_path: Path, stop_at: int) -> None:
    through = trainer(data, 2, look_ahead_steps=2)
    list(through.run(tmp_path / "through.ckpt"))
    stopped = trainer(data, 2, look_ahead_steps=2)
    for progress in stopped.run(tmp_path / "unused.ckpt"):
        if progress.step == stop_at:
            stopped.save(tmp_path / "half.ckpt")
            break
    resumed = trainer(data, 2, look_ahead_steps=2)
    resumed.resume(tmp_path / "half.ckpt")
    list(resumed.run(tmp_path / "resumed.ckpt"))
    for left, right in zip(through.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_exported_weights_open_with_everything_needed(data: Path, tmp_path: Path) -> None:
    trained = trainer(data, 1)
    list(trained.run(tmp_path / "last.ckpt"))
    trained.export(tmp_path / "made-up.safetensors")
    weights = open_weights(str(tmp_path / "made-up.safetensors"))
    assert weights.classes == CAMVID
    usual = weights.reconstruction.familiar_loss
    assert usual is not None and usual > 0
    assert weights.reconstruction == dataclasses.replace(trained.recipe.reconstruction, familiar_loss=usual)
    model = weights.load()
    exported, averaged = model.state_dict(), trained.average.state_dict()
    assert all(torch.equal(exported[name], value) for name, value in averaged.items())
    assert {name.split(".")[0] for name in exported.keys() - averaged.keys()} == {"ordinary_features"}


def test_exporting_does_not_change_the_averaged_model(data: Path, tmp_path: Path) -> None:
    """Batch norm would, if the model were still in training mode because no validation came before."""
    trained = trainer(data, 1)
    before = {name: value.clone() for name, value in trained.average.state_dict().items()}
    trained.export(tmp_path / "made-up.safetensors")
    after = trained.average.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert open_weights(str(tmp_path / "made-up.safetensors")).has_ordinary_features


def test_training_can_start_from_other_weights(data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(recipe(1), start=str(tiny_weights))
    started = Trainer(settings, load_split(settings.sources, data), CPU)
    given = open_weights(str(tiny_weights)).load().state_dict()
    assert all(torch.equal(value, given[name]) for name, value in started.model.state_dict().items())
    other = dataclasses.replace(settings, model=dataclasses.replace(TINY, size_divisor=8))
    with pytest.raises(TttvError, match="of another size"):
        Trainer(other, load_split(other.sources, data), CPU)
    make_folder(tmp_path / "hens")
    with pytest.raises(TttvError, match="has other classes than the recipe's sources"):
        Trainer(settings, load_split([StillsSource("folder", "hens")], tmp_path), CPU)


def test_a_light_g_is_trained_beside_f_and_h_of_weights_with_another(
    data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    size = dataclasses.replace(TINY, light_head_width=8)
    settings = dataclasses.replace(recipe(2, 1), start=str(tiny_weights), model=size)
    trained = Trainer(settings, load_split(settings.sources, data), CPU)
    given = open_weights(str(tiny_weights)).load().state_dict()
    started = {name: value.clone() for name, value in trained.model.state_dict().items()}
    of_g = {name for name in started if name.startswith("reconstruction_head.")}
    assert of_g and not of_g & given.keys()
    assert all(torch.equal(started[name], given[name]) for name in started.keys() - of_g)

    list(trained.run(tmp_path / "last.ckpt"))
    assert all(not torch.equal(started[name], trained.model.state_dict()[name]) for name in of_g)
    trained.export(tmp_path / "made-up.safetensors")
    weights = open_weights(str(tmp_path / "made-up.safetensors"))
    model = weights.load()
    assert isinstance(model.reconstruction_head, LightHead)
    with torch.no_grad():
        assert model.reconstruct(model.encode(torch.zeros(1, 3, 62, 91))).shape == (1, 3, 62, 91)


def test_exposure_is_matched_in_training_and_recorded(data: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(recipe(1), exposure="match")
    trained = Trainer(settings, load_split(settings.sources, data), CPU)
    ordinary = trained.split.trained.statistics()
    assert trained.augmentation.ordinary == ordinary
    image = trained.split.all_held_out[0].image
    assert torch.equal(trained.objective.shown(image), exposure_matched(image, ordinary))
    trained.export(tmp_path / "made-up.safetensors")
    weights = open_weights(str(tmp_path / "made-up.safetensors"))
    assert (weights.exposure, weights.ordinary) == ("match", ordinary)


def test_main_only_trains_without_reconstruction(data: Path, tmp_path: Path) -> None:
    trained = Trainer(main_only(recipe(2, 2)), load_split(recipe(2).sources, data), CPU)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    assert [progress.losses.reconstruction for progress in trained.run(tmp_path / "last.ckpt")] == [0.0, 0.0]
    moved = {
        name.split(".")[0] for name, value in trained.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"encoder", "main_head"}
    trained.export(tmp_path / "own.safetensors")
    assert open_weights(str(tmp_path / "own.safetensors")).name == "made-up-main-only"


def test_looking_ahead_begins_at_the_average(data: Path, tmp_path: Path) -> None:
    trained = trainer(data, 2, look_ahead_steps=1)
    for progress in trained.run(tmp_path / "last.ckpt"):
        if progress.step == 2:
            averaged = {name: value.clone() for name, value in trained.average.state_dict().items()}
            assert any(not torch.equal(averaged[name], value) for name, value in trained.model.state_dict().items())
    for name, value in trained.model.state_dict().items():
        assert name.startswith("reconstruction_head.") or torch.equal(averaged[name], value)


def test_looking_ahead_moves_only_g(data: Path, tmp_path: Path) -> None:
    trained = trainer(data, 2, look_ahead_steps=2)
    joint = {}
    for progress in trained.run(tmp_path / "last.ckpt"):
        assert (progress.losses.main_ahead is None) == (progress.step <= 2)
        if progress.step == 2:
            joint = {name: value.clone() for name, value in trained.average.state_dict().items()}
    moved = {name for name, value in trained.average.state_dict().items() if not torch.equal(value, joint[name])}
    assert moved
    assert all(name.startswith("reconstruction_head.") for name in moved)


class PlainStep(LookAhead):
    """Leaves the gradient unscaled, so that l_m after the step is a smooth function of g."""

    def _update_scale(self, gradient: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.ones_like(part) for part in gradient]


def test_look_ahead_gradient_is_that_of_the_loss_after_the_step(data: Path) -> None:
    """Moves g along the gradient and measures l_m after the inner step: the change must be as predicted."""
    untrained = trainer(data, 1)
    untrained.model.eval()
    batch, images = untrained.draw(2)

    class OnlyPixels(Segmentation):
        """Set matching jumps where the assignment changes; the pixel loss is smooth."""

        def forward(self, model: TwoHeadedModel, images: torch.Tensor, part: Part) -> Terms:
            queries = model.decode(model.encode(images))
            probabilities = class_probabilities(queries.class_logits, queries.mask_logits)
            return self.main_loss.pixel_terms(probabilities, queries.image_size, part.stills)

        def loss(self, terms: Terms) -> torch.Tensor:
            return self.main_loss.pixel_loss(terms.means, terms.sums)

    only_pixels = OnlyPixels(untrained.recipe, untrained.split)
    parameters = list(untrained.model.reconstruction_head.parameters())

    def reconstruct() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return reconstruction_loss(untrained.model, images, untrained.recipe.reconstruction, generator)

    def look() -> Ahead:
        look_ahead = PlainStep(untrained.model, LookAheadSettings(inner_rate=1e-4), 1.0)
        return look_ahead.look(reconstruct, lambda: only_pixels.loss(only_pixels(untrained.model, images, Part(batch))))

    gradient = look().ahead_gradient
    length = sum(float(part.square().sum()) for part in gradient) ** 0.5
    assert length > 0
    nudge = 1e-3
    measured = []
    for sign in (1, -1):
        with torch.no_grad():
            torch._foreach_add_(parameters, gradient, alpha=sign * nudge / length)
        measured.append(look().after)
        with torch.no_grad():
            torch._foreach_sub_(parameters, gradient, alpha=sign * nudge / length)
    assert measured[0] - measured[1] == pytest.approx(2 * nudge * length, rel=0.2)


def test_sensor_shift_darkens_its_share_and_keeps_the_range() -> None:
    images = torch.full((40, 3, 16, 16), 200.0)
    shifted = shift(images, LookAheadSettings(stops=4.0, shifted=0.5), torch.Generator().manual_seed(0))
    assert shifted.shape == images.shape
    assert 0 <= float(shifted.min()) <= float(shifted.max()) <= 255
    untouched = [torch.equal(view, image) for view, image in zip(shifted, images, strict=True)]
    assert 10 < sum(untouched) < 30
    brightness = {round(float(view.mean())) for view, same in zip(shifted, untouched, strict=True) if not same}
    assert len(brightness) > 10
    assert max(brightness) < 250


def test_film_shift_removes_the_colors_of_its_share() -> None:
    images = 255 * torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    settings = LookAheadSettings(shift="film", shifted=0.5)
    shifted = shift(images, settings, torch.Generator().manual_seed(0))
    assert torch.equal(shifted, shift(images, settings, torch.Generator().manual_seed(0)))
    untouched = [torch.equal(view, image) for view, image in zip(shifted, images, strict=True)]
    assert 10 < sum(untouched) < 30
    for view, same in zip(shifted, untouched, strict=True):
        assert same or (torch.equal(view[0], view[1]) and view.min() >= 0 and view.max() <= 255 and view.std() > 1)


def test_colors_are_learned_from_pictures_without_labels(data: Path, tmp_path: Path) -> None:
    settings = recipe(80)
    settings = dataclasses.replace(
        settings,
        objective="colorization",
        model=dataclasses.replace(TINY, color_outputs=2),
        sources=(StillsSource("pictures", "drive/images", held_out=2),),
        schedule=dataclasses.replace(settings.schedule, reconstruction_weight=0.1),
    )
    trained = Trainer(settings, load_split(settings.sources, data), CPU)
    progress = list(trained.run(tmp_path / "last.ckpt"))
    scores = progress[-1].scores or {}
    assert scores["psnr_of_gray"] + 0.2 < scores["psnr"]
    assert scores["psnr_of_gray"] + 1 < scores["psnr_of_classes"]
    trained.export(tmp_path / "color.safetensors")
    weights = open_weights(str(tmp_path / "color.safetensors"))
    assert weights.tasks == ("colorization",) and weights.classes == ()
    colors = weights.load().decode(weights.load().encode(torch.zeros(1, 3, 61, 90)))
    assert colors.ab.shape == (1, 2, 16, 23)
