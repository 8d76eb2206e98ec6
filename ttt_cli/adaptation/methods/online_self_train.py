"""Our own method: TTT-MAE and self-training in one step, from one masked forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Generator, Tensor

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.methods.self_train import NO_CONFIDENCE
from ttt_cli.adaptation.predictors import NON_SEMANTIC_TASKS
from ttt_cli.adaptation.reconstruction import draw_visible, reconstruction_error
from ttt_cli.core.classes import VOID
from ttt_cli.core.frame import Frame, Prediction
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticPrediction, class_probabilities, confident_classes, cross_entropy

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class ReconstructAndSelfTrain(MaskedReconstruction):
    """f (and g) take a step on l_s plus the cross-entropy of h's prediction with pseudo-labels.

    The pseudo-labels of a frame are what the adapted model predicted when it was the current one, where it was sure;
    they cost nothing, and the current frame has none yet. Three things keep the model from confirming its own errors:
    `forgetting`, the pull towards f_0; the cross-entropy counts for as much as the labels cover of the picture (Hoyer
    et al. 2023 weigh it so); and video that g_0 f_0 cannot reconstruct well gives no labels at all, since there the
    model is sure of what is wrong.

    Its settings were chosen on held-out stills (benchmarks/tune.py).
    """

    confidence: float = 0.97
    """Pixels less sure than this give no label."""
    weight: float = 1.0
    """Factor of the cross-entropy beside l_s."""
    probe_every: int = 50
    """After so many frames it is asked anew whether the video is familiar; 0 never asks, and always labels."""

    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = NO_CONFIDENCE

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Asks now and then whether the video is familiar."""
        adapter.familiarity.update(adapter, frame, self.probe_every)

    def after_predict(self, adapter: Adapter, frame: Frame, prediction: Prediction) -> Prediction:
        """On familiar video the prediction becomes the frame's label in later steps."""
        if adapter.steps and adapter.familiarity.is_familiar:
            self.store_pseudo_labels(adapter, prediction)
        return prediction

    def store_pseudo_labels(self, adapter: Adapter, prediction: Prediction) -> None:
        """The classes of the pixels that the prediction is sure of, beside the frame in the window."""
        assert isinstance(prediction, SemanticPrediction)
        height, width = prediction.class_map.shape
        labels = confident_classes(prediction.probabilities[None], (height, width), self.confidence)
        adapter.window.label(labels[0])

    def loss(
        self, model: TwoHeadedModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """l_s + weight x share of labeled pixels x cross-entropy, of the same masked images."""
        visible = draw_visible(batch.images, reconstruction, generator)
        features = model.encode(batch.images, visible)
        own = reconstruction_error(model, features, batch.images, visible, reconstruction)
        share = (batch.pseudo_labels != VOID).float().mean()
        entropy = cross_entropy(class_probabilities(model.segment(features)), batch.pseudo_labels)
        return own + self.weight * share * entropy
