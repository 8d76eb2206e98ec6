"""A batch in parts: gradient accumulation and several processes train as one process with one large batch does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE, TINY, TINY_HEAD
from PIL import Image

from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.settings import EncoderSize, ModelSize, ReconstructionSettings
from ttt_cli.training.augmentation import Augmentation
from ttt_cli.training.joint import Trainer
from ttt_cli.training.parts import Terms, terms_of_batch
from ttt_cli.training.processes import ALONE, Processes, Share
from ttt_cli.training.recipe import Recipe, Schedule
from ttt_cli.training.sources import StillsSource, load_split

CPU = torch.device("cpu")
SWIN = ModelSize(
    encoder=EncoderSize("swin", swin_channels=12, swin_depths=(1, 1, 1, 1), swin_attention_heads=(1, 1, 2, 2)),
    main_head=TINY_HEAD,
    reconstruction_head=TINY_HEAD,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight stills with different numbers of cars on a road, the last ones without any label."""
    folder = tmp_path_factory.mktemp("data")
    for kind in ("images", "labels"):
        (folder / "drive" / kind).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(8):
        classes = np.full((80, 96), 3 if index < 6 else 11, dtype=np.uint8)
        classes[: 10 * (index % 3)] = 11
        for car in range(index % 5):
            classes[50:60, 18 * car : 18 * car + 12] = 8
        image = 20 * classes[..., None] + random.integers(0, 30, (*classes.shape, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / "drive" / "images" / f"{index:03d}.png")
        Image.fromarray(classes).save(folder / "drive" / "labels" / f"{index:03d}.png")
    return folder


def recipe(**schedule: object) -> Recipe:
    usual = {"steps": 3, "warmup_steps": 1, "reconstruction_batch": 1}
    return Recipe(
        name="made-up",
        license="none",
        imagenet=False,
        sources=(StillsSource("camvid", "drive"),),
        model=TINY,
        augmentation=Augmentation(crop_height=60, crop_width=64),
        reconstruction=ReconstructionSettings(patch_pixels=16),
        schedule=Schedule(**(usual | schedule)),  # type: ignore[arg-type]
    )


def gradients_of(settings: Recipe, data: Path) -> tuple[list[torch.Tensor], float, float]:
    """The gradients of the first step, clipped, and both losses."""
    trainer = Trainer(settings, load_split(settings.sources, data), CPU)
    found: list[torch.Tensor] = []

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        found.extend(p.grad.clone() for group in optimizer.param_groups for p in group["params"] if p.grad is not None)

    trainer.optimizer.register_step_pre_hook(keep)
    progress = next(trainer.run(data / "unused.ckpt"))
    return found, progress.losses.main, progress.losses.reconstruction


def assert_same(left: Recipe, right: Recipe, data: Path, tolerance: float) -> None:
    """Both recipes begin with the same losses and gradients, up to a share of their length."""
    gradients, *losses = gradients_of(left, data)
    others, *other_losses = gradients_of(right, data)
    assert losses == pytest.approx(other_losses, rel=tolerance)
    ours, theirs = (torch.cat([part.flatten() for part in parts]) for parts in (gradients, others))
    assert float(theirs.norm()) > 0.1
    assert float((ours - theirs).norm()) < tolerance * float(theirs.norm())


@pytest.mark.parametrize(("accumulate", "batch", "seed"), [(2, 2, 0), (4, 1, 1)])
def test_accumulated_gradients_are_those_of_one_batch(data: Path, accumulate: int, batch: int, seed: int) -> None:
    whole = recipe(batch=4, reconstruction_batch=accumulate, seed=seed)
    assert_same(recipe(batch=batch, accumulate=accumulate, seed=seed), whole, data, 1e-5)


def test_colors_accumulate_too(data: Path) -> None:
    def colors(**schedule: object) -> Recipe:
        model = dataclasses.replace(TINY, color_outputs=2)
        return dataclasses.replace(recipe(**schedule), objective="colorization", model=model)

    assert_same(colors(batch=1, accumulate=3), colors(batch=3, reconstruction_batch=3), data, 1e-5)


@pytest.mark.parametrize("model", [TINY, SWIN], ids=["efficientnet", "swin"])
def test_checkpointing_the_encoder_changes_nothing(data: Path, model: ModelSize) -> None:
    plain = dataclasses.replace(recipe(batch=2), model=model)
    schedule = dataclasses.replace(plain.schedule, checkpoint_encoder=True)
    assert_same(dataclasses.replace(plain, schedule=schedule), plain, data, 1e-6)


def test_checkpointing_holds_fewer_activations(data: Path) -> None:
    """Counts the bytes that f's forward pass leaves for its backward pass."""

    def held(checkpoint: bool) -> int:
        settings = dataclasses.replace(recipe(batch=2, checkpoint_encoder=checkpoint), model=SWIN)
        trainer = Trainer(settings, load_split(settings.sources, data), CPU)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.model.encode(torch.zeros(2, 3, 64, 64))
        return sum(sizes)

    assert held(True) < 0.5 * held(False)


def test_bf16_computes_in_bf16_and_gives_nearly_the_same_losses(data: Path) -> None:
    _, main, reconstruction = gradients_of(recipe(batch=2), data)
    gradients, coarse_main, coarse_reconstruction = gradients_of(recipe(batch=2, precision="bf16"), data)
    assert coarse_main == pytest.approx(main, rel=0.05) and coarse_main != main
    assert coarse_reconstruction == pytest.approx(reconstruction, rel=0.05) and coarse_reconstruction != reconstruction
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


def test_shares_cover_a_batch() -> None:
    batch = list(range(12))
    shares = [Processes(rank, 3).share(part, 2) for rank in range(3) for part in range(2)]
    assert sorted(image for share in shares for image in share.of(batch)) == batch
    own = Share(1, 3).of(batch)
    assert [own[part::2] for part in range(2)] == [Processes(1, 3).share(part, 2).of(batch) for part in range(2)]


def test_means_of_parts_count_by_what_they_are_means_over() -> None:
    """The second mean of the first part is over nothing."""
    first = Terms(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 0.0]), torch.tensor([1.0]))
    second = Terms(torch.tensor([2.0, 7.0]), torch.tensor([1.0, 2.0]), torch.tensor([10.0]))
    whole = terms_of_batch([first, second], ALONE)
    assert whole.means.tolist() == [1.25, 7.0]
    assert whole.sums.tolist() == [11.0]


RECIPE = """
name = "made-up"
license = "none"
imagenet = false
[[sources]]
kind = "camvid"
folder = "drive"
held_out = 1
[augmentation]
crop_height = 60
crop_width = 64
[look_ahead]
steps = 1
batch = {batch}
[schedule]
steps = 3
batch = {batch}
warmup_steps = 1
reconstruction_batch = {reconstruction_batch}
[model]
[model.encoder]
name = "test_efficientnet"
"""
HEADS = "".join(
    f"[model.{head}]\n" + "".join(f"{name} = {value}\n" for name, value in dataclasses.asdict(TINY_HEAD).items())
    for head in ("main_head", "reconstruction_head")
)


def losses_of_two_processes(recipe_file: Path, data: Path, out: Path) -> list[dict[str, float]]:
    """The losses of every step of `tttv train`, started twice by torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "ttt_cli", "train", "--config", str(recipe_file), "--data", str(data)]
    command += ["--out", str(out), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert (out / "made-up.safetensors").is_file()
    steps = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4], "only one process logs"
    return [step["losses"] for step in steps]


def test_two_processes_train_as_one_with_the_batch_doubled(data: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(RECIPE.format(batch=2, reconstruction_batch=1) + HEADS)
    (tmp_path / "one.toml").write_text(RECIPE.format(batch=4, reconstruction_batch=2) + HEADS)
    together = losses_of_two_processes(tmp_path / "two.toml", data, tmp_path / "out")
    settings = from_table(Recipe, read_toml(tmp_path / "one.toml"), "one.toml")
    alone = Trainer(settings, load_split(settings.sources, data), CPU).run(tmp_path / "one.ckpt")
    for ours, progress in zip(together, alone, strict=True):
        for name, loss in dataclasses.asdict(progress.losses).items():
            assert ours[name] == (None if loss is None else pytest.approx(loss, rel=1e-4)), name
