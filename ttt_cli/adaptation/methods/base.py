"""The base of all methods: which parameters are trained, on which loss, and what happens around a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.predictors import Predictor
from ttt_cli.core.frame import Frame, Prediction, Video
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import Encoded, SplitModel

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class Method:
    """The fixed model: nothing is trained. Methods that adapt override `parameters` and `loss`, and hooks if needed.

    A method holds no state of a video; the adapter does. Fields that a subclass adds, such as a confidence, are
    settings of the method: `[adaptation.NAME]` in a `--config` file.
    """

    name: str
    """Its name in METHODS."""
    as_published: bool = False
    """Whether the model is used as it was published, whatever preparation made of its f."""
    carry: bool = True
    """Implicit memory; False resets weights, optimizer and random numbers before every frame."""
    window: int | None = None
    """Explicit memory, in frames, if the method fixes it; 0 is every frame. None leaves it to the settings."""
    steps: int | None = None
    """Gradient steps a frame, if the method fixes them. None leaves them to the settings."""
    forgetting: float | None = None
    """As in the settings, if the method fixes it. None leaves it to the settings."""
    predictor: type[Predictor] = Predictor
    """How the adapted model's output becomes the prediction."""

    undefined_for: ClassVar[tuple[str, ...]] = ()
    """Tasks that the method makes no sense for."""
    undefined_because: ClassVar[str] = ""
    """The reason, for the error message."""
    shares_forward: ClassVar[bool] = False
    """Whether the loss is of whole frames as they are, so that a prediction and a step can share f's forward pass."""
    needs_ordinary_features: ClassVar[bool] = False
    """Whether it compares f's features with those of ordinary pictures, which the weights must then record."""

    needs_reconstruction: ClassVar[bool] = False
    """Whether it needs g, which published models have only once they are prepared."""

    needs_preparation: ClassVar[bool] = False
    """Whether it makes sense only for prepared weights."""

    needs_class_probabilities: ClassVar[bool] = False
    """Whether it asks how likely each class is at each pixel, which detectors of objects do not say."""

    moves_normalization: ClassVar[bool] = False
    """Whether what it moves in f is in its normalization layers, which must then not be frozen."""

    decodes_masked: ClassVar[bool] = False
    """Whether it asks h about masked pictures, of which f must then encode what is hidden, too."""

    def __post_init__(self) -> None:
        """Raises UsageError for settings of the method that are out of range; subclasses add their own checks."""

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """The parameters that test-time training changes; never those of h."""
        yield from ()

    def statistics(self, model: SplitModel) -> Iterator[Tensor]:
        """The buffers that `before_step` changes."""
        yield from ()

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """The loss of one step on a batch from the window: a scalar."""
        raise TypeError(f"{self.name} moves no parameters, so it has no loss")

    def encode_with_loss(self, model: SplitModel, images: Tensor) -> tuple[Encoded, Tensor]:
        """f's output for whole images, and the loss of one step on them; of methods with `shares_forward`.

        images: RGB in 0..255, (B, 3, H, W).
        """
        raise TypeError(f"{self.name} has no loss on whole images")

    def finds_familiar(self, loss: float) -> bool:
        """Whether a loss says that the video is as f expects it, so that no step is taken."""
        return False

    @property
    def may_rest(self) -> bool:
        """Whether it is the loss that decides if a step is taken, so that it must be known before."""
        return type(self).finds_familiar is not Method.finds_familiar

    @property
    def trains(self) -> bool:
        """Whether it takes gradient steps."""
        return type(self).loss is not Method.loss or type(self).encode_with_loss is not Method.encode_with_loss

    @property
    def looks_at_frames(self) -> bool:
        """Whether it does something before a prediction besides taking steps."""
        return type(self).before_step is not Method.before_step

    def begin(self, adapter: Adapter, video: Video, on_offline_step: OnOfflineStep) -> None:
        """Called before the first frame. A method that looks at the video here is not online."""

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Called once a frame, after it enters the window and before the model is trained on it."""

    def after_step(self, adapter: Adapter) -> None:
        """Called after each step that was not undone."""

    def predicting(self, adapter: Adapter) -> AbstractContextManager[None]:
        """The context in which the frame is predicted; a method can predict with other weights than it trains."""
        return nullcontext()

    def after_predict(self, adapter: Adapter, frame: Frame, prediction: Prediction) -> Prediction:
        """Called with each prediction; returns the prediction to use."""
        return prediction
