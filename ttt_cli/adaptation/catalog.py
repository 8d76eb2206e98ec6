"""The names of all methods, and what each is in a line. Importing this does not import torch.

`METHODS` in adaptation/methods has the methods themselves, and `PREDICTORS` in predictors.py what can be put on top.
"""

from __future__ import annotations

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable

SUMMARIES = {
    "main-only": "the fixed model of weights that were trained without reconstruction",
    "joint": "the fixed model, as it was published",
    "prepared": "the fixed model with its encoder as tttv weights prepare left it",
    "no-memory": "the paper's step on one frame, four times, from the weights as trained",
    "implicit": "online with a window of one frame",
    "explicit": "online with the weights put back before each frame",
    "online": "the paper's: a step on reconstruction before each frame, weights carried on",
    "offline": "trains on the whole video first, then predicts it with one model",
    "offline-oracle": "offline, and labels choose the best of four models; only in tttv eval",
    "ln-adapt": "statistics of batch normalization follow the frames",
    "ln-prior": "statistics of training, mixed with a tenth of each frame's own",
    "tent": "normalization layers take steps on the prediction's entropy",
    "tent+cb": "tent, put back when the prediction loses or gains classes",
    "self-train": "the encoder fits the model's own confident pixels",
    "self-train+cb": "self-train, put back when the prediction loses or gains classes",
    "cotta": "the encoder fits what the average of its own past weights says",
    "clamp": "the fixed model, its features kept to where ordinary pictures have them",
    "auto": "clamp where that helps the video, else the fixed model",
    "align": "steps that bring features back to where ordinary pictures have them",
    "online+self-train": "online and self-train in one step",
    "online+ln-adapt": "online, with ln-adapt before each step on unfamiliar video",
    "majority-vote": "the fixed model asked ten times, about augmented frames",
    "temporal-smoothing": "the fixed model's probabilities averaged over three frames",
    "mirror": "the fixed model's probabilities averaged over a frame and its mirror image",
}
"""What each method does, by its name."""
ON_TOP = {
    "vote": "asks the adapted model ten times, about augmented frames",
    "smoothing": "averages probabilities over three frames",
    "mirror": "averages probabilities over a frame and its mirror image",
}
"""What can be put on top of any method, such as `online+vote`."""


def require_method(name: str) -> None:
    """Raises UsageError for an unknown name of a method, which may have something on top."""
    base, _, on_top = name.rpartition("+")
    if not (name in SUMMARIES or (base in SUMMARIES and on_top in ON_TOP)):
        raise unknown_method(name)


def unknown_method(name: str) -> UsageError:
    """What to raise for a name that no method has."""
    return UsageError(
        f"method {printable(name)!r} is unknown; {choices(name, SUMMARIES)}, and each with "
        f"{' or '.join('+' + suffix for suffix in ON_TOP)}"
    )
