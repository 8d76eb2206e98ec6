"""Joint training that starts from published models, and the folders that it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import error_of, noise_frames, picture, same, save_frames
from label_fixtures import save_array, write_json
from published_fixtures import CLASSES, MAKERS, SIDE

from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.opening import open_weights, weights_for
from ttt_cli.model.published.model import PublishedModel
from ttt_cli.training import joint
from ttt_cli.training.augmentation import Augmentation
from ttt_cli.training.joint import Progress, Trainer
from ttt_cli.training.losses import MainLossSettings
from ttt_cli.training.matching import mask_targets
from ttt_cli.training.optimizer import set_learning_rate
from ttt_cli.training.parts import Part
from ttt_cli.training.recipe import Recipe, Schedule, main_only
from ttt_cli.training.sources import StillsSource, load_split

CPU = torch.device("cpu")
FARM = ("lawn", "hedge", "coop", "hay", "hen", "cock")
TRAINABLE = [name for name in MAKERS if name not in ("oneformer", "eomt_dinov3")]
Published = Callable[[str], Path]
Finished = Callable[[str], tuple[Trainer, Path]]


def write_stills(folder: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Six stills: sky above, road below, two cars on it, and an edge without a label."""
    labels = np.full((SIDE, 80), 2)
    labels[32:], labels[:4] = 0, 255
    labels[40:52, 8:24] = labels[40:52, 48:72] = 4
    colors = np.full((256, 3), 0)
    colors[[0, 2, 4]] = [[100, 100, 100], [90, 130, 220], [200, 30, 30]]
    random = np.random.default_rng(0)
    for number in range(6):
        save_array(folder / "labels" / f"{number}.png", labels)
        save_array(folder / "images" / f"{number}.png", colors[labels] + random.integers(0, 30, (*labels.shape, 3)))
    kinds = [{"name": name, "color": [9, 9, number], "is_thing": number > 2} for number, name in enumerate(classes)]
    write_json(folder / "classes.json", kinds)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_stills(folder / "stills")
    write_stills(folder / "farm", FARM)
    return folder


@pytest.fixture(autouse=True, scope="module")
def few_pictures_measured() -> Iterator[None]:
    """There are only four stills, so a few draws show what f's features are like on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint, "PICTURES_MEASURED", 8)
        yield


def recipe(start: Path, steps: int = 3) -> Recipe:
    return Recipe(
        name="mine",
        license="none: a test",
        sources=(StillsSource("folder", "stills", held_out=2),),
        start=str(start),
        augmentation=Augmentation(crop_height=SIDE, crop_width=SIDE, smallest_scale=1.0, largest_scale=1.25),
        schedule=Schedule(
            steps=steps,
            batch=2,
            warmup_steps=2,
            learning_rate=2e-3,
            encoder_learning_rate=1e-3,
            reconstruction_weight=1.0,
            average_decay=0.5,
        ),
        adaptation={"learning_rate": 3e-5},
    )


def trainer(settings: Recipe, data: Path) -> Trainer:
    return Trainer(settings, load_split(settings.sources, data), CPU)


def trained(settings: Recipe, data: Path, folder: Path) -> Trainer:
    """A trainer that is done; its weights are in `folder`."""
    done = trainer(settings, data)
    list(done.run(folder / "checkpoint.ckpt"))
    done.export(done.subject.path_in(folder))
    return done


@pytest.fixture(scope="module")
def finished(published: Published, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A training of a family that is done, and its folder, which is not to be changed."""
    done: dict[str, tuple[Trainer, Path]] = {}

    def of(family: str) -> tuple[Trainer, Path]:
        if family not in done:
            folder = tmp_path_factory.mktemp(family)
            done[family] = trained(recipe(published(family), steps=1), data, folder), folder / "mine"
        return done[family]

    return of


def values_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("family", TRAINABLE)
def test_f_g_and_h_learn_and_batch_norm_stays(family: str, published: Published, data: Path, tmp_path: Path) -> None:
    training = trainer(recipe(published(family), steps=2), data)
    before, names = values_of(training.model), dict(training.model.named_parameters())
    progress = list(training.run(tmp_path / "checkpoint.ckpt"))
    assert all(np.isfinite([step.losses.main, step.losses.reconstruction]).all() for step in progress)
    assert set(progress[-1].scores or {}) == {"miou_clean", "miou_low_light"}
    after = training.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("reconstruction_head.") for name in moved)
    assert any(name.startswith("model.") and name in names for name in moved)
    assert "mask_input.weight" in moved
    assert not [name for name in moved if "running_" in name or "num_batches" in name]


@pytest.mark.parametrize("family", ["mask2former", "segformer"])
def test_training_lowers_both_losses(family: str, published: Published, data: Path, tmp_path: Path) -> None:
    def means(steps: list[Progress]) -> tuple[float, float]:
        return fmean(step.losses.main for step in steps), fmean(step.losses.reconstruction for step in steps)

    progress = list(trainer(recipe(published(family), steps=40), data).run(tmp_path / "checkpoint.ckpt"))
    (main_before, own_before), (main_after, own_after) = means(progress[:5]), means(progress[-5:])
    assert main_after < 0.8 * main_before
    assert own_after < 0.9 * own_before


@pytest.mark.parametrize("family", ["mask2former", "segformer"])
def test_resuming_gives_the_same_bits_as_going_through(
    family: str, published: Published, data: Path, tmp_path: Path
) -> None:
    settings = recipe(published(family))
    through = trainer(settings, data)
    list(through.run(tmp_path / "through.ckpt"))
    stopped = trainer(settings, data)
    next(stopped.run(tmp_path / "unused.ckpt"))
    stopped.save(tmp_path / "half.ckpt")
    resumed = trainer(settings, data)
    resumed.resume(tmp_path / "half.ckpt")
    list(resumed.run(tmp_path / "resumed.ckpt"))
    for whole, halves in ((through.model, resumed.model), (through.average, resumed.average)):
        assert all(map(torch.equal, whole.state_dict().values(), halves.state_dict().values()))


@pytest.mark.parametrize("family", ["mask2former", "segformer", "eomt"])
def test_parts_and_recomputed_blocks_give_the_same_step(
    family: str, published: Published, data: Path, tmp_path: Path
) -> None:
    """As one batch of four: two of two, with the activations of f's blocks computed again. Nothing is random."""

    def step(**changes: Any) -> Progress:
        settings = recipe(published(family), steps=1)
        schedule = replace(settings.schedule, **changes)
        training = trainer(replace(settings, schedule=schedule), data)
        training.model.train = lambda mode=True: training.model  # type: ignore[method-assign, assignment]
        return next(training.run(tmp_path / "checkpoint.ckpt"))

    whole, parts = step(batch=4), step(batch=2, accumulate=2, checkpoint_encoder=True)
    assert parts.losses.main == pytest.approx(whole.losses.main, rel=1e-4)
    assert parts.losses.reconstruction == pytest.approx(whole.losses.reconstruction, rel=1e-4)


def test_every_layer_of_the_decoder_is_taught(published: Published, data: Path) -> None:
    training = trainer(recipe(published("mask2former")), data)
    model, still = training.model.train(), training.split.trained.stills[0]
    assert isinstance(model, PublishedModel)
    config: Any = model.model.config
    terms = training.objective(model, still.image[None].float(), Part([still]))
    assert len(terms.means) == 3 * config.decoder_layers == 6
    assert "auxiliary_logits" not in model.eval().decode(model.encode(picture(0)[None]))


def test_the_shipped_recipe_trains_a_model_of_its_family(published: Published, data: Path, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "recipes" / "mask2former-swin-s.toml"
    shipped, small = from_table(Recipe, read_toml(path), str(path)), recipe(published("mask2former"))
    small_batch = replace(shipped.schedule, batch=1, accumulate=2)
    views = small.augmentation
    settings = replace(shipped, start=small.start, sources=small.sources, augmentation=views, schedule=small_batch)
    training = trainer(settings, data)
    losses = next(training.run(tmp_path / "checkpoint.ckpt")).losses
    assert np.isfinite([losses.main, losses.reconstruction]).all()
    assert all(map(torch.equal, training.model.parameters(), training.average.parameters()))


def test_learning_rates_may_fall_by_a_power(published: Published, data: Path) -> None:
    training = trainer(recipe(published("segformer")), data)
    schedule = Schedule(steps=100, warmup_steps=0, decay="poly", final_share=0.0, learning_rate=1.0)
    rates = []
    for step in (0, 50, 99):
        set_learning_rate(training.optimizer, schedule, step)
        rates.append(training.optimizer.param_groups[-1]["lr"] / training.optimizer.param_groups[-1]["peak"])
    assert rates == pytest.approx([1.0, 0.5**0.9, 0.01**0.9])


def test_objects_may_be_taught_as_classes(published: Published, data: Path) -> None:
    settings = recipe(published("mask2former"))
    still = next(iter(load_split(settings.sources, data).trained.stills))
    together = replace(settings, main_loss=MainLossSettings(objects=False))
    assert [trainer(each, data).objective.mask_count(still) for each in (settings, together)] == [4, 3]
    assert len(mask_targets(still, frozenset())[0]) == 3


@pytest.mark.parametrize("family", ["mask2former", "segformer"])
def test_the_folder_opens_with_transformers_alone(family: str, published: Published, finished: Finished) -> None:
    done, folder = finished(family)
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(number): name for number, name in enumerate(CLASSES)}
    inputs = transformers.AutoImageProcessor.from_pretrained(folder)(picture(0), return_tensors="pt")

    @torch.no_grad()
    def alone(path: Path) -> torch.Tensor:
        output = getattr(transformers, config["architectures"][0]).from_pretrained(path)(**inputs)
        return output["logits" if "logits" in output else "masks_queries_logits"]

    average = done.average
    assert isinstance(average, PublishedModel)
    with torch.no_grad():
        output = average.decode(average.encode(done.objective.shown(picture(0))[None]))
    assert torch.equal(alone(folder), output["logits" if "logits" in output else "masks_queries_logits"])
    assert not torch.equal(alone(folder), alone(published(family)))


def test_the_folder_has_everything_of_ours_beside_it(finished: Finished) -> None:
    done, folder = finished("segformer")
    weights = open_weights(str(folder))
    assert weights.license == "none: a test"
    assert weights.has_ordinary_features and weights.has_reconstruction
    assert weights.adaptation["learning_rate"] == 3e-5
    usual = weights.reconstruction.familiar_loss
    assert usual is not None and usual > 0
    assert weights.reconstruction == replace(done.recipe.reconstruction, familiar_loss=usual)
    model, images = weights.load(), picture(0)[None]
    assert model.prepared_encoder is None
    visible = (torch.rand(1, 1, *images.shape[-2:], generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with torch.no_grad():
        again, kept = (each.reconstruct(each.encode(images, visible)) for each in (model, done.average))
    assert torch.equal(again, kept)


def command(settings: dict[str, str], tmp_path: Path, data: Path, *arguments: str) -> int:
    """`tttv train` with a recipe of single settings, by section and name."""
    settings = {"name": '"mine"', "license": '"none"', **settings}
    lines = [f"{name} = {value}" for name, value in settings.items() if "." not in name]
    folder = settings.get("sources.folder", "stills")
    lines += ["[[sources]]", 'kind = "folder"', f'folder = "{folder}"', "held_out = 2"]
    tables = {"augmentation": {"crop_height": str(SIDE), "crop_width": str(SIDE)}, "schedule": {"steps": "2"}}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        if key and section != "sources":
            tables.setdefault(section, {})[key] = value
    for section, table in tables.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in table.items())]
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines))
    out = ["--data", str(data), "--out", str(tmp_path / "out"), "--device", "cpu"]
    return main(["train", "--config", str(path), *out, *arguments])


def test_the_commands(published: Published, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = {"start": f'"{published("mask2former")}"'}
    assert command(start, tmp_path, data, "--max-steps", "1") == 0
    assert command(start, tmp_path, data, "--resume") == 0
    model = tmp_path / "out" / "mine"
    assert sorted(path.name for path in model.parent.iterdir()) == ["checkpoint.ckpt", "mine", "train.jsonl"]
    assert main(["weights", "verify", str(model)]) == 0
    assert main(["weights", "show", str(model)]) == 0
    capsys.readouterr()
    frames = save_frames([frame.image for frame in noise_frames(2)], tmp_path / "video")
    for method in ("joint", "online"):
        run = ["--weights", str(model), "--method", method, "--out", str(tmp_path / method)]
        assert main(["segment", str(frames), *run]) == 0
    metrics = json.loads((tmp_path / "online" / "run.json").read_text())
    assert metrics["settings"]["adaptation"]["method"] == "online"
    capsys.readouterr()
    run = ["--weights", str(model), "--method", "prepared", "--out", str(tmp_path / "no")]
    assert main(["segment", str(frames), *run]) != 0
    assert "lack a prepared encoder" in error_of(capsys)
    pictures = ["--images", str(data / "stills" / "images"), "--images", str(data / "farm" / "images"), "--fast"]
    assert main(["weights", "prepare", str(model), *pictures]) == 1
    assert "add --overwrite" in error_of(capsys)
    assert main(["weights", "prepare", str(model), *pictures, "--overwrite"]) == 0


def test_main_only_leaves_weights_without_g_beside_the_others(
    published: Published, data: Path, finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished("segformer")[1], tmp_path / "mine")
    trained(main_only(recipe(published("segformer"), steps=1)), data, tmp_path)
    alone = weights_for("main-only", open_weights(str(tmp_path / "mine")))
    assert alone.path == (tmp_path / "mine-main-only").absolute()
    assert alone.has_ordinary_features and not alone.has_reconstruction
    assert alone.load().reconstruction_head is None


@pytest.mark.parametrize("family", ["mask2former", "segformer"])
def test_a_new_classifier_knows_other_classes(family: str, published: Published, data: Path, tmp_path: Path) -> None:
    settings = replace(recipe(published(family), steps=1), sources=(StillsSource("folder", "farm"),))
    with pytest.raises(TttvError, match="has other classes than the recipe's sources.*new_classifier = true"):
        trainer(settings, data)
    done = trained(replace(settings, new_classifier=True), data, tmp_path)
    weights = open_weights(str(tmp_path / "mine"))
    assert [kind.name for kind in weights.classes] == list(FARM)
    assert done.average.class_probabilities(done.average.encode(picture(0)[None])).shape[1] == len(FARM)
    old, new = open_weights(str(published(family))).load().encoder, done.subject.start.load_for(weights.classes).encoder
    assert same(old.state_dict(), new.state_dict())


def test_earlier_weights_are_replaced_and_other_folders_are_not(finished: Finished, tmp_path: Path) -> None:
    done, folder = finished("segformer")
    shutil.copytree(folder, tmp_path / "mine")
    done.export(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == sorted(path.name for path in folder.iterdir())
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(TttvError, match="notes.txt: no training wrote it"):
        done.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").exists() and (tmp_path / "mine" / "config.json").exists()
    (tmp_path / "theirs").mkdir()
    with pytest.raises(TttvError, match="theirs: exists, and no training wrote it"):
        done.export(tmp_path / "theirs")
    assert not list((tmp_path / "theirs").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "theirs"}


def test_a_model_that_was_only_prepared_is_no_earlier_training(
    finished: Finished, published: Published, data: Path, tmp_path: Path
) -> None:
    prepared = shutil.copytree(published("segformer"), tmp_path / "mine")
    pictures = ["--images", str(data / "stills" / "images"), "--images", str(data / "farm" / "images")]
    assert main(["weights", "prepare", str(prepared), *pictures, "--fast"]) == 0
    with pytest.raises(TttvError, match="mine: exists, and no training wrote it"):
        finished("segformer")[0].export(prepared)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"start": '"torchvision:fcn_resnet50"'}, "start torchvision:fcn_resnet50: cannot be trained"),
        ({"start": '"detectron2:a.yaml#b.pth"'}, "start detectron2:a.yaml#b.pth: cannot be trained"),
        ({"start": '"no/folder/there"'}, "no/folder/there"),
        ({"sources.folder": "farm"}, "has other classes than the recipe's sources"),
        ({"objective": '"colorization"'}, "objective: is for models of ours"),
        ({"exposure": '"match"'}, "exposure: is for models of ours"),
        ({"model.size_divisor": "8"}, "model: is for models of ours"),
        ({"look_ahead.steps": "1"}, "look_ahead: is for models of ours"),
        ({"main_loss.dense_weight": "0.5"}, "main_loss.dense_weight: is for models of ours"),
        ({"schedule.decay": '"linear"'}, "decay: must be 'cosine' or 'poly'"),
        ({"name": '"../mine"'}, "must be the name of a file, without a folder"),
    ],
)
def test_bad_recipes_give_one_line(
    change: dict[str, str],
    reported: str,
    published: Published,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command({"start": f'"{published("segformer")}"', **change}, tmp_path, data) != 0
    assert reported in error_of(capsys)


@pytest.mark.parametrize("family", ["oneformer", "eomt_dinov3"])
def test_families_that_cannot_be_trained_are_refused(family: str, published: Published, data: Path) -> None:
    with pytest.raises(TttvError, match=r"which cannot be trained; start from one of Mask2Former"):
        trainer(recipe(published(family)), data)


def test_squares_are_cropped_as_large_as_the_model_takes_them(published: Published, data: Path) -> None:
    settings = recipe(published("beit"))
    with pytest.raises(UsageError, match="takes squares, so crop_height and crop_width must be 64"):
        trainer(replace(settings, augmentation=Augmentation(crop_height=48, crop_width=64)), data)


def test_a_checkpoint_of_another_model_is_refused(published: Published, data: Path, tmp_path: Path) -> None:
    trainer(recipe(published("segformer")), data).save(tmp_path / "checkpoint.ckpt")
    with pytest.raises(TttvError, match="is of another recipe, or damaged"):
        trainer(recipe(published("upernet")), data).resume(tmp_path / "checkpoint.ckpt")


def test_new_classifiers_are_for_published_models(data: Path) -> None:
    settings = replace(recipe(Path()), start="", new_classifier=True)
    with pytest.raises(UsageError, match="new_classifier: is only for published models"):
        trainer(settings, data)
