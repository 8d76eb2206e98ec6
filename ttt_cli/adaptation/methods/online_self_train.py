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
from ttt_cli.core.ranges import require_not_negative, require_share
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.tasks.semantic import SemanticPrediction, confident_classes, cross_entropy

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class ReconstructAndSelfTrain(MaskedReconstruction):
    """f (and g) take a step on l_s plus the cross-entropy of h's prediction with pseudo-labels.

    A frame's pseudo-labels are the classes that the adapted model predicted with confidence when it was the current
    frame. They cost nothing; the current frame has none yet. Three things keep the model from confirming its own
    errors: `forgetting` pulls it towards f_0; the cross-entropy is weighted by the share of the picture that the labels
    cover (as in Hoyer et al. 2023); and video that f_0, g_0 cannot reconstruct well gives no labels, since there the
    model is confident but wrong.

    The settings were chosen on held-out stills (benchmarks/tune.py).
    """

    confidence: float = 0.97
    """Pixels less sure than this give no label."""
    weight: float = 1.0
    """Factor of the cross-entropy relative to l_s."""
    probe_every: int = 50
    """Frames between checks whether the video is familiar; 0 never checks, and always labels."""

    needs_class_probabilities: ClassVar[bool] = True
    decodes_masked: ClassVar[bool] = True
    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = NO_CONFIDENCE

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(self, "confidence")
        require_not_negative(self, "weight", "probe_every")

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Checks every `probe_every` frames whether the video is familiar."""
        adapter.familiarity.update(adapter, frame, self.probe_every)

    def after_predict(self, adapter: Adapter, frame: Frame, prediction: Prediction) -> Prediction:
        """Keeps the prediction as the frame's pseudo-labels for later steps, if the video is familiar."""
        if adapter.steps and adapter.familiarity.is_familiar:
            self.store_pseudo_labels(adapter, prediction)
        return prediction

    def store_pseudo_labels(self, adapter: Adapter, prediction: Prediction) -> None:
        """Stores the confident pixels' classes with the frame in the window."""
        assert isinstance(prediction, SemanticPrediction)
        height, width = prediction.image_size
        labels = confident_classes(prediction.probabilities[None], (height, width), self.confidence)
        adapter.window.label(labels[0])

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """l_s + weight x share of labeled pixels x cross-entropy, on the same masked images."""
        visible = draw_visible(batch.images, reconstruction, generator)
        features = model.encode(batch.images, visible)
        error = reconstruction_error(model, features, batch.images, visible, reconstruction)
        share = (batch.pseudo_labels != VOID).float().mean()
        entropy = cross_entropy(model.class_probabilities(features), batch.pseudo_labels)
        return error + self.weight * share * entropy
