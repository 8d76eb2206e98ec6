"""Do the gradients of l_s and l_m agree? Prints their cosine per encoder stage on held-out labeled stills.

The paper's theorem assumes that the two gradients differ only by noise (its assumption 3). If their cosine is not
above zero, a step on l_s cannot be expected to help l_m. Both gradients are taken at the shipped weights, on the same
still; l_s is averaged over `--masks` masks. The second column is for the same stills in low light.

    python benchmarks/alignment.py --weights street --data data
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.datasets.low_light import low_light
from ttt_cli.model.opening import open_weights
from ttt_cli.model.queries import class_probabilities
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.training.losses import MainLoss
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.sources import load_split
from ttt_cli.training.stills import Still

Gradients = dict[str, Tensor]


def stage_of(parameter_name: str) -> str:
    """The encoder stage of a parameter: `blocks.3` of `backbone.blocks.3.0.conv.weight`, `conv_stem` of the stem."""
    parts = parameter_name.split(".")[1:]
    return ".".join(parts[:2]) if parts[1].isdigit() else parts[0]


def by_stage(model: SplitModel) -> Gradients:
    """The encoder's gradients as one long vector per stage, and one for the whole encoder."""
    stages: dict[str, list[Tensor]] = {}
    for name, parameter in model.encoder.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for stage in (stage_of(name), "whole encoder"):
            stages.setdefault(stage, []).append(gradient.flatten())
    return {stage: torch.cat(parts) for stage, parts in stages.items()}


def cosines(
    model: SplitModel, main_loss: MainLoss, still: Still, settings: ReconstructionSettings, masks: int
) -> dict[str, float]:
    """Cosine of the two gradients on a still, by stage."""
    images = still.image[None]
    model.zero_grad()
    queries = model.decode(model.encode(images))
    probabilities = class_probabilities(queries.class_logits, queries.mask_logits)
    terms = main_loss.pixel_terms(probabilities, queries.image_size, [still])
    main_loss.pixel_loss(terms.means, terms.sums).backward()  # type: ignore[no-untyped-call]
    main = by_stage(model)
    model.zero_grad()
    generator = Generator().manual_seed(0)
    for _ in range(masks):
        reconstruction_loss(model, images, settings, generator).backward()  # type: ignore[no-untyped-call]
    reconstruction = by_stage(model)
    return {stage: float(torch.cosine_similarity(main[stage], reconstruction[stage], dim=0)) for stage in main}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="street")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/street.toml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--masks", type=int, default=4)
    parser.add_argument("--stills", type=int, default=18, help="how many held-out stills, spread evenly")
    arguments = parser.parse_args()

    weights = open_weights(arguments.weights)
    model = weights.load().eval()
    recipe = from_table(Recipe, read_toml(arguments.recipe), str(arguments.recipe))
    split = load_split(recipe.sources, arguments.data)
    held_out = [still for stills in split.held_out.values() for still in stills]
    held_out = held_out[:: max(1, len(held_out) // arguments.stills)]
    share = split.trained.pixel_share(len(split.classes))
    main_loss = MainLoss(recipe.main_loss, split.classes, share, recipe.model.main_head.channels)

    columns = []
    for degraded in (False, True):
        rows = []
        for seed, still in enumerate(held_out):
            image = low_light(still.image, seed) if degraded else still.image
            shown = dataclasses.replace(still, image=image)
            rows.append(cosines(model, main_loss, shown, weights.reconstruction, arguments.masks))
        columns.append(rows)
    print(f"cosine of grad l_s and grad l_m on {len(held_out)} held-out stills, mean +- standard error")
    print(f"{'stage':16s} {'as they are':>18s} {'low light':>18s}")
    for stage in columns[0][0]:
        cells = []
        for rows in columns:
            values = torch.tensor([row[stage] for row in rows])
            cells.append(f"{values.mean():+.3f} +- {values.std() / len(values) ** 0.5:.3f}")
        print(f"{stage:16s} {cells[0]:>18s} {cells[1]:>18s}")


if __name__ == "__main__":
    main()
