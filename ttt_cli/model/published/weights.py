"""What is known of a published model, and how it is loaded. Importing this does not import torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.known_classes import classes_named
from ttt_cli.model.published.families import FAMILIES, Family
from ttt_cli.model.published.foreign import ForeignWeights, first_line, require_count_of_classes
from ttt_cli.model.published.plausible import LARGEST_SIDE, LONGEST_VALUE, require_plausible
from ttt_cli.model.published.snapshot import CONFIG, PREPROCESSOR, Snapshot, fingerprint

if TYPE_CHECKING:
    from ttt_cli.model.published.model import PublishedModel
    from ttt_cli.model.published.processing import ImageProcessing
    from ttt_cli.model.split import SplitModel


@dataclass(frozen=True, kw_only=True)
class PublishedWeights(ForeignWeights):
    """A published model of a family in FAMILIES."""

    snapshot: Snapshot
    architecture: str
    """The name of its class in transformers, a key of FAMILIES."""

    @property
    def recommended(self) -> dict[str, dict[str, Any]]:
        """Regions have the certainty that its image processor asks for."""
        tables = super().recommended
        tables["task"]["object_threshold"] = self.family.object_threshold
        return tables

    @property
    def family(self) -> Family:
        """The row of its architecture."""
        return FAMILIES[self.architecture]

    @property
    def takes_one_size(self) -> bool:
        """As its family."""
        return self.family.takes_one_size

    @property
    def encoder(self) -> str:
        """The name of its class; its config says what encoder that has."""
        return self.architecture

    def load_alone(self) -> PublishedModel:
        """The model, bit for bit the published one, in eval mode. Raises TttvError if its tensors do not fit."""
        return self._load({})

    def load_for(self, classes: Sequence[Class]) -> PublishedModel:
        """The same with a classifier for other classes; it is drawn anew, unless there are as many as before."""
        names = [kind.name for kind in classes]
        numbers = {name: number for number, name in enumerate(names)}
        return self._load({"id2label": dict(enumerate(names)), "label2id": numbers, "ignore_mismatched_sizes": True})

    def _load(self, changes: dict[str, Any]) -> PublishedModel:
        """changes: further arguments of from_pretrained."""
        import transformers

        from ttt_cli.model.published.checkpoint import read_tensors
        from ttt_cli.model.published.model import PublishedModel

        shown = printable(self.snapshot.source)
        if self.snapshot.is_pickle:
            for path in self.snapshot.weights:
                read_tensors(path)  # transformers has PyTorch read them, which some files end or harm.
        quiet()
        try:
            model, report = getattr(transformers, self.architecture).from_pretrained(
                self.path,
                local_files_only=True,
                use_safetensors=not self.snapshot.is_pickle,
                weights_only=True,
                output_loading_info=True,
                **changes,
            )
        except Exception as error:  # Configs can be wrong in every way.
            raise TttvError(f"{shown}: cannot be loaded ({printable(first_line(error))})") from error
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise TttvError(f"{shown}: {len(missing)} tensors are missing ({printable(missing[0])} and so on)")
        inputs = {task: self._task_inputs(task) for task in self.tasks} if self.family.asks_task else {}
        return PublishedModel(model, self.family, self.processing(resizes=True).normalization, inputs)

    def processing(self, resizes: bool) -> ImageProcessing:
        """Its own image processor. resizes: whether frames are brought to the size that it asks for."""
        from ttt_cli.model.published.processing import ImageProcessing

        quiet()
        try:
            return ImageProcessing(self.path, resizes)
        except Exception as error:  # Configs can be wrong in every way.
            shown, cause = printable(self.snapshot.source), printable(first_line(error))
            raise TttvError(f"{shown}: its {PREPROCESSOR} cannot be used ({cause})") from error

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes a folder in the layout of transformers."""
        from ttt_cli.model.published.model import PublishedModel

        assert isinstance(model, PublishedModel), "load gives no other"
        network: Any = model.model
        network.save_pretrained(path)
        self.processing(resizes=True).processor.save_pretrained(path)

    def fingerprint(self) -> str:
        """The checksum of config and tensors."""
        return fingerprint(self.snapshot)

    def identity(self) -> dict[str, str]:
        """What run.json and metrics.json say of the weights: the license too, and the revision of one from the hub."""
        revision = {} if self.snapshot.revision is None else {"revision": self.snapshot.revision}
        return {**super().identity(), "license": self.license, **revision}

    def _task_inputs(self, task: str) -> dict[str, Any]:
        """The task in words, as OneFormer's processor puts it."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
        length = _read(self.snapshot.folder / CONFIG)["task_seq_len"]
        words = tokenizer([f"the task is {task}"], padding="max_length", max_length=length, truncation=True)
        return {"task_inputs": _tensor(words["input_ids"])}


def read_published(snapshot: Snapshot) -> PublishedWeights:
    """The record of a published model. Raises TttvError if it is of no known family, or its classes make no sense."""
    from ttt_cli.model.settings import ReconstructionSettings

    config, shown = _read(snapshot.folder / CONFIG), printable(snapshot.source)
    require_plausible(config, snapshot.folder / CONFIG)
    architectures = config.get("architectures") or ["no class at all"]
    architecture = architectures[0] if isinstance(architectures, list) else architectures
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        known, shown_class = ", ".join(FAMILIES), printable(str(architecture)[:LONGEST_VALUE])
        raise TttvError(f"{shown}: is a {shown_class}, which cannot be adapted; known: {known}")
    if not (snapshot.folder / PREPROCESSOR).is_file():
        raise TttvError(f"{shown}: has no {PREPROCESSOR}, so it is not known how it sees pictures; add it")
    names = _class_names(config.get("id2label"), shown)
    family = FAMILIES[architecture]
    processor = _read(snapshot.folder / PREPROCESSOR)
    require_plausible(processor, snapshot.folder / PREPROCESSOR, LARGEST_SIDE)
    tasks = _tasks_of_squares(processor, family) if family.takes_one_size else family.tasks
    # The card of a model that can be read in several ways says in its name which one it was trained for.
    named = [task for task in tasks if task in snapshot.source.lower()]
    return PublishedWeights(
        path=snapshot.folder.absolute(),
        name=snapshot.source,
        tasks=tuple(dict.fromkeys([*named, *tasks])),
        classes=classes_named(names),
        license=snapshot.license or "not stated",
        reconstruction=ReconstructionSettings(),
        adaptation={"method": "joint"},
        has_reconstruction=False,
        snapshot=snapshot,
        architecture=architecture,
    )


def _tasks_of_squares(processor: dict[str, Any], family: Family) -> Sequence[str]:
    """What can be read from squares: objects only if a frame is one square, which is not cut but padded."""
    tasks = ("panoptic", "instance") if processor.get("do_pad") else ("semantic",)
    return [task for task in tasks if task in family.tasks]


def _class_names(labels: Any, shown: str) -> list[str]:
    if not isinstance(labels, dict) or sorted(labels, key=_number) != [str(number) for number in range(len(labels))]:
        raise TttvError(f"{shown}: its {CONFIG} does not name its classes (id2label)")
    require_count_of_classes(len(labels), shown)
    return [str(labels[str(number)]) for number in range(len(labels))]


def _number(key: str) -> int:
    return int(key) if key.isdecimal() else -1


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _tensor(ids: Any) -> Any:
    import torch

    return torch.tensor(ids)


def quiet() -> None:
    """Keeps transformers from writing bars and advice between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
