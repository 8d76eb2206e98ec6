"""Makes a published model: UPerNet on EfficientNet-Lite0 (ImageNet), trained on CamVid, as a folder of transformers.

It knows nothing of tttv: no fourth channel, no reconstruction, no augmentation but crops and colors. The commands
of docs/prepare.md prepare it, let it adapt, and score it.

    python benchmarks/walkthrough.py --data data --out walkthrough --steps 1500
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from torch import Generator

from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.core.pictures import IMAGENET
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.encoder import build_encoder
from ttt_cli.model.pixels import normalize
from ttt_cli.model.settings import EncoderSize
from ttt_cli.training.augmentation import augment, draw_view
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.sources import load_split

RECIPE = Path(__file__).parents[1] / "recipes" / "street-plain.toml"
SHORTEST_SIDE = 360
RATE, ENCODER_RATE, WARMUP_STEPS = 1e-3, 3e-4, 50


def new_model() -> transformers.UperNetForSemanticSegmentation:
    """UPerNet with ImageNet's weights in its encoder."""
    name = EncoderSize().name
    backbone = transformers.TimmBackboneConfig(backbone=name, out_indices=(1, 2, 3, 4), use_pretrained_backbone=False)
    names = {index: kind.name for index, kind in enumerate(CAMVID)}
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=96,
        use_auxiliary_head=False,
        loss_ignore_index=VOID,
        id2label=names,
        label2id={label: index for index, label in names.items()},
    )
    model = transformers.UperNetForSemanticSegmentation(config)
    state = build_encoder(EncoderSize(), pretrained=True).backbone.state_dict()
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :3]  # A published model has three input channels.
    model.backbone._backbone.load_state_dict(state)
    return model


def train(model: transformers.UperNetForSemanticSegmentation, data: Path, steps: int, batch: int) -> None:
    """Cross-entropy on the recipe's training stills."""
    recipe = from_table(Recipe, read_toml(RECIPE), str(RECIPE))
    pool, generator = load_split(recipe.sources, data).trained, Generator().manual_seed(recipe.schedule.seed)
    augmentation = replace(recipe.augmentation, windows=1)
    encoder = {id(parameter) for parameter in model.backbone.parameters()}
    groups = [
        {"params": [p for p in model.parameters() if (id(p) in encoder) == inside], "peak": rate}
        for inside, rate in ((True, ENCODER_RATE), (False, RATE))
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    model.train()
    for step in range(steps):
        share = min((step + 1) / WARMUP_STEPS, (1 + math.cos(math.pi * step / steps)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        drawn = [(pool.stills[index], draw_view(augmentation, generator)) for index in pool.choose(batch, generator)]
        stills = [augment(still, augmentation, view) for still, view in drawn]
        images = normalize(torch.stack([still.image for still in stills]))
        labels = torch.stack([still.classes for still in stills]).long()
        loss = model(images, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: cross-entropy {float(loss.detach()):.3f}", flush=True)
    model.eval()


def save(model: transformers.UperNetForSemanticSegmentation, folder: Path) -> None:
    """The model and its image processor, as they are published."""
    model.save_pretrained(folder)
    mean, deviation = ([value / 255 for value in values] for values in (IMAGENET.mean, IMAGENET.deviation))
    size = {"shortest_edge": SHORTEST_SIDE}
    processor = transformers.SegformerImageProcessor(size=size, image_mean=mean, image_std=deviation)
    processor.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = new_model()
    train(model, options.data, options.steps, options.batch)
    save(model, options.out)


if __name__ == "__main__":
    main()
