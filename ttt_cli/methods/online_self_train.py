"""Our own method: TTT-MAE and self-training in one step, from one masked forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from ttt_cli.frame import Prediction
from ttt_cli.memory import Batch
from ttt_cli.methods.online import MaskedReconstruction
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.reconstruction import ReconstructionSettings, draw_visible, reconstruction_error
from ttt_cli.tasks.semantic import class_probabilities, confident_classes, cross_entropy


@dataclass(frozen=True)
class ReconstructAndSelfTrain(MaskedReconstruction):
    """f (and g) take a step on l_s plus the cross-entropy of h's prediction with pseudo-labels.

    The pseudo-labels of a frame are what the adapted model predicted when it was the current one, where it was sure;
    they cost nothing, and the current frame has none yet. `forgetting`, the pull towards f_0, is what keeps the model
    from confirming itself into a corner.

    confidence, weight: chosen on held-out stills (benchmarks/tune.py).
    """

    confidence: float = 0.9
    weight: float = 0.1

    def pseudo_labels(self, prediction: Prediction) -> Tensor:
        """The classes of the pixels that the prediction is sure of."""
        height, width = prediction.class_map.shape
        return confident_classes(prediction.probabilities[None], (height, width), self.confidence)[0]

    def loss(
        self, model: TwoHeadedModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """l_s + weight x cross-entropy, both of the masked images."""
        visible = draw_visible(batch.images, reconstruction, generator)
        features = model.encode(batch.images, visible)
        own = reconstruction_error(model, features, batch.images, visible, reconstruction)
        return own + self.weight * cross_entropy(class_probabilities(model.segment(features)), batch.pseudo_labels)
