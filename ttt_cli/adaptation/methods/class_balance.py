"""Class balance (Volpi et al. 2022; paper, section 5.1): back to f_0 when the adapted model has lost its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.self_train import SelfTrain
from ttt_cli.adaptation.methods.tent import Tent
from ttt_cli.core.frame import Frame, Prediction
from ttt_cli.core.ranges import require_not_negative

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class ClassBalance(Method):
    """A mixin: compares the prediction of each frame that is adapted to with f_0's, and resets the adapter if they
    differ too much.

    In between, f stays as it was last compared, and one prediction a frame is all there is to pay.
    """

    largest_change: int = 2
    """How many classes more or fewer than f_0 the adapted model may predict on a frame.

    Neither the paper nor Volpi et al. give a number; 2 of 11 classes is our choice.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "largest_change")

    def is_lost(self, fixed: Prediction, adapted: Prediction) -> bool:
        """Whether to reset, given both predictions of the same frame."""
        return abs(len(adapted.present()) - len(fixed.present())) > self.largest_change

    def after_predict(self, adapter: Adapter, frame: Frame, prediction: Prediction) -> Prediction:
        """The prediction, or that of f_0 if the adapted model has lost its classes."""
        if adapter.due is None:
            return prediction
        with adapter.as_trained():
            fixed = adapter.predict_image(frame.image)
        if not self.is_lost(fixed, prediction):
            return prediction
        adapter.reset()
        return fixed


@dataclass(frozen=True)
class BalancedTent(ClassBalance, Tent):
    """Tent with class balance."""


@dataclass(frozen=True)
class BalancedSelfTrain(ClassBalance, SelfTrain):
    """Self-training with class balance."""
