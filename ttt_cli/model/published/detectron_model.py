"""Models with detectron2's interface as f and h. Nothing here but `DetectronProcessing.resized` needs detectron2.

Such a model has a `backbone`, takes a list of {"image", "height", "width"}, and resizes what it found to that size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.model.published.families import Family
from ttt_cli.model.published.model import EncodedPicture, Normalization, PublishedModel, at_output_stride
from ttt_cli.model.published.processing import Found, Processing
from ttt_cli.model.published.replay import AtModule, output_of, with_parts
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.queries import class_probabilities


@dataclass(frozen=True)
class Said:
    """What a model says of a batch of one: what each of its parts gave, of which it makes a result of any size."""

    model: nn.Module
    pixels: Tensor
    features: Any
    """What the backbone gave."""
    parts: Mapping[str, Any]
    """What each other part that it called gave, by its name."""

    def at_size(self, size: tuple[int, int], **settings: float) -> dict[str, Any]:
        """The model's own result for a frame of `size` (height, width): "sem_seg", "instances", "panoptic_seg".

        settings: attributes of the model to replace. Runs only what the model does between and after its parts.
        """
        # Boxes are scaled in place, so each result begins with a copy of them.
        known = {name: _giving(copy.deepcopy(output)) for name, output in self.parts.items()}
        finisher = with_parts(self.model, {"backbone": _giving(self.features), **known})
        for name, value in settings.items():
            setattr(finisher, name, value)
        with torch.no_grad():
            result: dict[str, Any] = finisher(_inputs(self.pixels, size))[0]
        return result


@dataclass(frozen=True)
class AtBackbone(AtModule):
    """f is the backbone."""

    path: str = "backbone"

    def encode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Any:
        """Runs the model up to the end of its backbone."""
        return output_of(self.encoder(model), lambda: model(_inputs(pixels)))

    def decode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor], encoded: Any) -> Said:
        """Runs the model, whose backbone returns `encoded`, without gradients, and notes what its parts say."""
        said: dict[str, Any] = {}

        def note(name: str) -> Any:
            return lambda part, inputs, output: said.update({name: copy.deepcopy(output)})

        handles = [part.register_forward_hook(note(name)) for name, part in model.named_children() if name != self.path]
        try:
            with torch.no_grad():
                # The result is not looked at, so it is as small as can be.
                with_parts(model, {self.path: _giving(encoded)})(_inputs(pixels, (1, 1)))
        finally:
            for handle in handles:
                handle.remove()
        return Said(model, pixels, encoded, said)

    def padded(self, model: nn.Module, values: Tensor) -> Tensor:
        """As ImageList.from_tensors does: at the right and lower edges, to a multiple or to a square."""
        backbone: Any = self.encoder(model)
        constraints = getattr(backbone, "padding_constraints", None) or {}
        divisor = constraints.get("size_divisibility", backbone.size_divisibility) or 1
        square = constraints.get("square_size", 0)
        below, right = ((math.ceil((square or side) / divisor) * divisor) - side for side in values.shape[-2:])
        return functional.pad(values, (0, right, 0, below))


class DetectronModel(PublishedModel):
    """A model with detectron2's interface. Its own normalization is taken over, so that what is hidden can be black.

    blue_first: whether it takes channels in the order blue, green, red.
    """

    def __init__(self, model: nn.Module, blue_first: bool) -> None:
        statistics: Any = model
        mean, deviation = (tuple(values.flatten().tolist()) for values in (statistics.pixel_mean, statistics.pixel_std))
        statistics.pixel_mean.zero_()
        statistics.pixel_std.fill_(1.0)
        super().__init__(model, Family(AtBackbone()), Normalization(mean, deviation, blue_first), {})

    def class_probabilities(self, encoded: EncodedPicture) -> Tensor:
        """The probabilities that its head for classes gives, see SplitModel. Raises ValueError if it has none."""
        if not hasattr(self.model, "sem_seg_head"):
            raise ValueError("a model that only finds objects has no probabilities of classes")
        head: Any = self.model.sem_seg_head
        return self._probabilities(head(encoded.output), encoded)

    def probabilities_in(self, output: Said, encoded: EncodedPicture) -> Tensor:
        """The same, from what `decode` gave."""
        return self._probabilities(output.parts["sem_seg_head"], encoded)

    def _probabilities(self, head_output: Any, encoded: EncodedPicture) -> Tensor:
        if isinstance(head_output, dict):  # Of MaskFormer and its kind.
            scores = class_probabilities(head_output["pred_logits"], head_output["pred_masks"])
        else:
            scores = head_output[0].float().softmax(dim=1)
        whole = self.family.split.padded(self.model, encoded.pixels).shape[-2:]
        height, width = (
            math.ceil(side * cells / padded)
            for side, cells, padded in zip(encoded.image_size, scores.shape[-2:], whole, strict=True)
        )
        return at_output_stride(scores[..., :height, :width], encoded.image_size)


@dataclass(frozen=True)
class DetectronProcessing(Processing):
    """What detectron2's DefaultPredictor does before a model, and how what the model finds is numbered here."""

    shortest_side: int
    """Of what the model sees, in pixels; 0 leaves frames as they are."""
    longest_side: int
    """At most, in pixels."""
    things: int
    """How many classes come in objects; in panoptic results those that do not are numbered after them."""

    def resized(self, image: Tensor) -> Tensor:
        if self.shortest_side == 0:
            return image
        from detectron2.data.transforms import ResizeShortestEdge

        pixels = image.permute(1, 2, 0).contiguous().numpy()
        resize = ResizeShortestEdge([self.shortest_side, self.shortest_side], self.longest_side).get_transform(pixels)
        return torch.tensor(resize.apply_image(pixels)).permute(2, 0, 1).contiguous()

    def classes(self, output: Said, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        class_map: Tensor = output.at_size(size)["sem_seg"].argmax(dim=0).to(torch.uint8)
        return class_map

    def objects(self, output: Said, size: tuple[int, int]) -> list[Found]:
        objects = output.at_size(size)["instances"]
        columns = (objects.pred_classes.tolist(), objects.scores.tolist(), objects.pred_masks)
        return [Found(class_id, score, mask) for class_id, score, mask in zip(*columns, strict=True)]

    def regions(self, output: Said, size: tuple[int, int], threshold: float, overlap_threshold: float) -> list[Found]:
        ids, regions = output.at_size(
            size, combine_instances_score_thresh=threshold, combine_overlap_thresh=1 - overlap_threshold
        )["panoptic_seg"]
        return [
            Found(self._class_id(region), float(region.get("score", 1.0)), ids == region["id"]) for region in regions
        ]

    def _class_id(self, region: Mapping[str, Any]) -> int:
        """Classes of things and of stuff are counted apart there; stuff 0 stands for all things."""
        number = int(region["category_id"])
        return number if region["isthing"] else self.things + number - 1


def _giving(output: Any) -> Any:
    return lambda *arguments, **options: output


def _inputs(pixels: Tensor, size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """A batch of pictures as such models take them; size: (height, width) of the result, by default that of pixels."""
    height, width = size or (pixels.shape[-2], pixels.shape[-1])
    return [{"image": picture, "height": height, "width": width} for picture in pixels]
