"""What stronger colors cost: PSNR and colorfulness of the held-out stills of a recipe, for several curves of chroma.

Each still passes through the model once. Then the radius r of its chroma, in units of Lab, is changed: by a factor, by
curves that favor strong or weak chroma, or by matching the distribution of radii to that of training pictures. Shown
beside the means over all stills are those over every other one, to choose on one half and check on the other.

    python benchmarks/saturation.py --data data --curves factor,strong,weak,limit,matched
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ttt_cli.core.color import colored, is_colored, lab_of
from ttt_cli.core.labels import Chroma
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.metrics.color import colorfulness, distances
from ttt_cli.model.opening import open_weights
from ttt_cli.tasks.colorization import ColorizationTask
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.sources import load_split
from ttt_cli.training.stills import Split, Stills
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.transforms import shrink

Curve = Callable[[Tensor], Tensor]
FACTORS = (1, 1.25, 1.5, 1.75, 2, 2.25, 2.4, 2.5)


@dataclass(frozen=True)
class Colored:
    """A still and the model's colors for it."""

    image: Tensor
    """uint8 RGB (3, H, W), the truth."""
    chroma: Tensor
    """float32 (2, h, w), as predicted."""

    def scores(self, curve: Curve) -> tuple[float, float]:
        """PSNR in dB and colorfulness, with the radius of the chroma changed by `curve`."""
        radius = self.chroma.norm(dim=0).clamp(min=1e-6)
        picture = colored(self.image, Chroma(self.chroma * (curve(radius) / radius)))
        return distances(picture, self.image)["PSNR"], colorfulness(picture.float())


@torch.no_grad()
def predicted(stills: Stills, name: str) -> list[Colored]:
    """The stills that are in color, colored by the weights `name` with saturation 1."""
    model = open_weights(name).load()
    task = ColorizationTask((), TaskSettings(task="colorization", saturation=1.0))
    found = []
    for image in (still.image for still in stills if is_colored(still.image)):
        shown = task.preprocess(shrink(image, InputSettings.size))
        found.append(Colored(image, task.predict(model, model.encode(shown[None])).chroma))
    return found


def curves(kind: str, stills: list[Colored], split: Split) -> Iterator[tuple[str, Curve]]:
    """The curves of a kind, with what is printed of them."""
    if kind == "factor":
        yield from ((f"r * {factor:g}", _scaled(factor)) for factor in FACTORS)
    elif kind == "strong":
        for knee, k in product((5.0, 20.0), (1.0, 2.0, 3.0)):
            yield f"r * (1 + {k:g} r / (r + {knee:g}))", _strong(knee, k)
    elif kind == "weak":
        for power, fixed in product((0.6, 0.8), (20.0, 45.0)):
            yield f"{fixed:g} (r / {fixed:g})^{power}", _weak(power, fixed)
    elif kind == "limit":
        for limit, s in product((20.0, 40.0), (2.0, 2.5, 3.0)):
            yield f"{limit:g} tanh({s:g} r / {limit:g})", _limited(limit, s)
    elif kind == "matched":
        levels = torch.linspace(0, 1, 33)
        said = torch.cat([still.chroma.norm(dim=0)[::4, ::4].flatten() for still in stills]).quantile(levels)
        chosen = split.trained.choose(200, torch.Generator().manual_seed(0))
        pictures = [split.trained.stills[index] for index in chosen]
        radii = [lab_of(still.image[:, ::16, ::16])[1:].norm(dim=0).flatten() for still in pictures]
        true = torch.cat(radii).quantile(levels)
        for share in (0.25, 0.5, 1.0):
            yield f"{share:g} of the way to the matched r", _matched(share, said, true)
    else:
        raise SystemExit(f"unknown curve: {kind}")


def _scaled(factor: float) -> Curve:
    return lambda r: r * factor


def _strong(knee: float, k: float) -> Curve:
    return lambda r: r * (1 + k * r / (r + knee))


def _weak(power: float, fixed: float) -> Curve:
    return lambda r: fixed * (r / fixed) ** power


def _limited(limit: float, s: float) -> Curve:
    return lambda r: limit * torch.tanh(s * r / limit)


def _matched(share: float, said: Tensor, true: Tensor) -> Curve:
    return lambda r: r + share * (_between(r, said, true) - r)


def _between(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The piecewise linear function through the points (x, y), for values of any shape."""
    after = torch.bucketize(values, x).clamp(1, len(x) - 1)
    share = (values - x[after - 1]) / (x[after] - x[after - 1]).clamp(min=1e-6)
    return y[after - 1] + share.clamp(0, 1) * (y[after] - y[after - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/color.toml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", default="color")
    parser.add_argument("--curves", default="factor", help="names of kinds in `curves`, with commas")
    arguments = parser.parse_args()

    recipe = from_table(Recipe, read_toml(arguments.recipe), str(arguments.recipe))
    split = load_split(recipe.sources, arguments.data)
    stills = predicted(split.all_held_out, arguments.weights)
    true = [colorfulness(still.image.float()) for still in stills]
    plain = [still.scores(lambda r: r)[0] for still in stills]
    print(f"{len(stills)} stills: {statistics.fmean(plain):.2f} dB, true colorfulness {statistics.fmean(true):.1f}")
    for name, curve in (pair for kind in arguments.curves.split(",") for pair in curves(kind, stills, split)):
        found = [still.scores(curve) for still in stills]
        line = f"{name:36s}"
        for label, part in (("all", slice(None)), ("odd", slice(0, None, 2)), ("even", slice(1, None, 2))):
            gain = statistics.fmean(psnr for psnr, _ in found[part]) - statistics.fmean(plain[part])
            share = sum(color for _, color in found[part]) / sum(true[part])
            line += f"  {label} {gain:+.2f} dB, {share:.0%}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
