"""What is done about too little memory: steps hold less of it, and where it runs out all the same, once, the work is
tried again with less.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import TttvError
from ttt_cli.core.resumable import Resumable
from ttt_cli.model.recompute import recomputable, recomputed
from ttt_cli.model.split import SplitModel

ADVICE = "make the frames that the model sees smaller with --size, set --low-memory, or take a smaller model"
MESSAGES = re.compile(
    r"can't allocate memory|not enough memory|out of memory|could not create a primitive|can't start new thread",
    re.IGNORECASE,
)
"""What PyTorch's allocators say: on the CPU of Linux and macOS, on that of Windows, on other devices, and in oneDNN;
then what Python says when there is no memory for a thread.
"""
Value = TypeVar("Value")


class OutOfMemory(TttvError):
    """Memory ran out, and trying again did not help, or makes no sense."""


class Memory(Resumable):
    """How much memory the adaptation to one video may take: less from the moment when it runs out.

    low: whether steps save memory. crop: as in the settings; halved when a step runs out of memory.
    place: where in the video we are, for messages.
    """

    varying = ("low", "crop", "_ran_out")

    def __init__(self, settings: AdaptationSettings) -> None:
        self.low, self.crop = settings.low_memory, settings.crop
        self.place = "before the first frame"
        self._ran_out = False
        self._note: str | None = None

    def saving(self, model: SplitModel) -> AbstractContextManager[None]:
        """A context for the forward pass of a step. With low memory, f's blocks are recomputed in the backward pass."""
        if not self.low:
            return nullcontext()
        return recomputed(recomputable(model))

    def step(self, run: Callable[[], Value]) -> Value:
        """What a step gives; if memory runs out, that of another with low memory and half the crop.

        run: leaves the model as it was if it fails. Raises OutOfMemory the second time.
        """
        return self._tried(run, is_step=True)

    def prediction(self, run: Callable[[], Value]) -> Value:
        """What a prediction gives, if memory runs out at the second try. Raises OutOfMemory as `step` does."""
        return self._tried(run, is_step=False)

    def take_note(self) -> str | None:
        """What was done, in one line, when memory ran out; None if nothing new was."""
        note, self._note = self._note, None
        return note

    def _tried(self, run: Callable[[], Value], is_step: bool) -> Value:
        try:
            return run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Here the error is gone, and with it the tensors of the frames of its traceback.
        if self._ran_out:
            done = f"again, with low memory and crop {self.crop:g}; what was done before is kept"
            raise OutOfMemory(f"{self.place}: memory ran out {done}; {ADVICE}")
        self._ran_out = self.low = True
        done = "as with --low-memory from here on"
        if is_step:
            self.crop /= 2
            done += f", and steps see {self.crop:g} of a frame's sides"
        self._note = f"{self.place}: memory ran out in a {'step' if is_step else 'prediction'}; {done}"
        _release()
        return self._tried(run, is_step)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and MESSAGES.search(str(error)) is not None


@contextmanager
def explained() -> Iterator[None]:
    """A context in which running out of memory, anywhere else than `Memory` sees to, is raised as OutOfMemory."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise OutOfMemory(f"memory ran out; what was done before is kept; {ADVICE}")


def _release() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
