"""Makes one run: reads a video and writes an overlay video, masks and a log.

    open_video -> prefetch (thread) -> adapt() -> Outputs (thread) -> overlay.mp4, masks/, frames.jsonl
                                              \\-> RunScores -> metrics.json, if there are labels

The queues between the threads are short, so memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain

import torch

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.out_of_memory import explained
from ttt_cli.core.errors import AlreadyDone, UsageError, printable
from ttt_cli.core.frame import Video
from ttt_cli.run.bookkeeping import Bookkeeping
from ttt_cli.run.checkpoints import Checkpoints
from ttt_cli.run.folder import RunFolder, claimed
from ttt_cli.run.frame_record import FrameRecord, read_frame_records
from ttt_cli.run.journal import Checkpoint, Journal, latest_checkpoint
from ttt_cli.run.label_files import check_formats
from ttt_cli.run.lock import locked
from ttt_cli.run.naming import run_folder
from ttt_cli.run.outputs import Outputs
from ttt_cli.run.peak_memory import forget_peak
from ttt_cli.run.record import Report, RunScores
from ttt_cli.run.request import RunRequest
from ttt_cli.run.steps import Step, Steps
from ttt_cli.run.stopping import Stop, stopped_by_signals
from ttt_cli.run.subject import check_same, subject_of, subject_of_finished
from ttt_cli.video.live import LiveSource
from ttt_cli.video.opening import open_input


@dataclass(frozen=True)
class Run:
    """A finished run. Iterating over it reads the record of each frame from its frames.jsonl."""

    folder: RunFolder
    """Paths of everything written: `folder.path`, `folder.overlay`, `folder.masks` and so on."""
    report: Report
    """The content of run.json; its status is "done", "partial" or "interrupted"."""
    scores: RunScores | None
    """None without labels."""

    def __iter__(self) -> Iterator[FrameRecord]:
        return read_frame_records(self.folder.frames)


def run_video(
    request: RunRequest,
    on_start: Callable[[Video, int], None] = lambda video, frames_done: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_offline_step: OnOfflineStep = lambda done, total: None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Run:
    """Makes one run. Whatever stops it, it leaves finished, playable files, or what it takes to go on.

    on_start: called after the first frame; frames_done: by the run that this one resumes. on_step: called after every
    frame. on_offline_step: called at each step of a method that trains before the first frame. on_stage: called with
    what is loaded next, in a few words, until the first frame is there.
    Raises UsageError for a method that chooses by labels. Raises TttvError if the input, labels, weights or output
    folder cannot be used; if not even the first frame could be predicted, nothing has been written. With `resume`,
    raises AlreadyDone if the run is finished.
    """
    method, task = request.settings.adaptation.method, request.settings.task.task
    check_formats(task, request.settings.output.formats)
    if isinstance(method_named(method), OfflineOracle):
        raise UsageError(f"{method} uses the labels; it is available only in tttv eval")
    if request.resume and isinstance(request.source, LiveSource):
        raise UsageError(f"{printable(request.source.shown)}: live input cannot be gone back to; leave out --resume")
    video = open_input(request.source, request.settings.input)
    folder = run_folder(request.out, video, request.settings)
    folder.check(video.path, request.overwrite, request.resume)
    forget_peak(request.device)
    with explained(), ExitStack() as stack:
        journal = Journal(folder.unfinished, subject_of(request, video))
        saved = stack.enter_context(_left_off(folder, journal)) if request.resume else None
        stack.enter_context(_threads_of(saved))
        bookkeeping = Bookkeeping(request, video, journal.subject, saved)
        request, stop = bookkeeping.request, Stop()
        on_stage(f"loading the weights {request.weights.name}")
        model = Steps(request, video, saved)
        on_stage("working on the first frame")
        steps = stack.enter_context(closing(model.run(on_offline_step, stop.check)))
        first = next(steps, None)  # None if all frames were done already.
        if saved is None:
            stack.enter_context(claimed(folder, video.path, request.overwrite or request.resume))
        on_start(video, bookkeeping.totals.frames)
        stack.enter_context(stopped_by_signals(stop))
        outputs = Outputs(folder, video, request.weights.classes, request.settings, journal, saved)
        checkpoints = Checkpoints(outputs, {"model": model.state, "bookkeeping": bookkeeping.state})
        with bookkeeping.recorded(folder, outputs), explained(), outputs:
            for step in stop.between(steps if first is None else chain([first], steps)):
                outputs.put(step)
                bookkeeping.update(step)
                checkpoints.after(bookkeeping.totals.frames)
                on_step(step)
    folder.put_video()
    return Run(folder, bookkeeping.report, bookkeeping.scores)


@contextmanager
def _threads_of(saved: Checkpoint | None) -> Iterator[None]:
    """A context in which torch computes with as many threads as before, since their number changes the last bits."""
    threads = torch.get_num_threads()
    if saved is not None:
        torch.set_num_threads(saved.parts["bookkeeping"]["threads"])
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _left_off(folder: RunFolder, journal: Journal) -> Iterator[Checkpoint | None]:
    """The latest checkpoint of the run in the folder, which is locked; None if there is nothing to go on from.

    Raises TttvError if the run was of another subject, AlreadyDone if it is finished.
    """
    if folder.is_finished():
        check_same(subject_of_finished(folder.record() or {}, journal.subject), journal.subject, folder)
        raise AlreadyDone(f"{printable(folder.path)}: is finished, there is nothing to resume")
    with ExitStack() as stack:
        saved = None
        if folder.was_cut_off():
            stack.enter_context(locked(folder.path))
            saved = latest_checkpoint(folder.unfinished)
        if saved is None:
            stack.close()
        else:
            check_same(saved.subject, journal.subject, folder)
            folder.forget_pictures(saved.parts["outputs"]["pictures_size"])
        yield saved
