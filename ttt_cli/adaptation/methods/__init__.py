"""The table of methods, one file for each.

To add a method, write a file beside these and add a line to METHODS, and one to SUMMARIES in adaptation/catalog.py.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ttt_cli.adaptation.catalog import unknown_method
from ttt_cli.adaptation.methods.align import Align
from ttt_cli.adaptation.methods.auto import Auto
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.clamp import Clamp
from ttt_cli.adaptation.methods.class_balance import BalancedSelfTrain, BalancedTent
from ttt_cli.adaptation.methods.cotta import AverageTeacher
from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.ln_prior import StatisticsWithPrior
from ttt_cli.adaptation.methods.offline import Offline, OfflineOracle
from ttt_cli.adaptation.methods.online import MaskedReconstruction, NoMemory
from ttt_cli.adaptation.methods.online_ln_adapt import ReconstructAndFollow
from ttt_cli.adaptation.methods.online_self_train import ReconstructAndSelfTrain
from ttt_cli.adaptation.methods.prepared import Prepared
from ttt_cli.adaptation.methods.self_train import SelfTrain
from ttt_cli.adaptation.methods.tent import Tent
from ttt_cli.adaptation.predictors import PREDICTORS, Mirror, Smoothing, Vote
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import converted
from ttt_cli.model.opening import weights_for
from ttt_cli.model.weights import Weights

ORDINARY_FEATURES = "the features of ordinary pictures"
PREPARED_ENCODER = "a prepared encoder"
RECONSTRUCTION_HEAD = "a reconstruction head"
"""What a method may need of weights."""

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("main-only", as_published=True),  # Differs only in its weights, see model/weights.py.
        Method("joint", as_published=True),
        Prepared("prepared"),
        NoMemory("no-memory"),
        MaskedReconstruction("implicit", window=1),
        MaskedReconstruction("explicit", carry=False),
        MaskedReconstruction("online"),
        Offline("offline"),
        OfflineOracle("offline-oracle"),
        StatisticsAdapt("ln-adapt"),
        StatisticsWithPrior("ln-prior"),
        Tent("tent"),
        BalancedTent("tent+cb"),
        SelfTrain("self-train"),
        BalancedSelfTrain("self-train+cb"),
        AverageTeacher("cotta"),
        Clamp("clamp"),
        Auto("auto"),
        Align("align"),
        ReconstructAndSelfTrain("online+self-train"),
        ReconstructAndFollow("online+ln-adapt"),
        Method("majority-vote", predictor=Vote),
        Method("temporal-smoothing", predictor=Smoothing),
        Method("mirror", predictor=Mirror),
    )
}


def method_named(name: str, constants: Mapping[str, Any] | None = None) -> Method:
    """A method of the table, or such a method with a predictor on top: `online+vote`, `tent+cb+smoothing`.

    constants: replace the defaults from `constants_of`.
    Raises UsageError for unknown names of methods or constants, and for constants of the wrong type.
    """
    method = _of_table(name)
    types = _constant_types(method)
    for constant in constants or {}:
        if constant not in types:
            known = choices(constant, types)
            raise UsageError(f"method {printable(name)}: unknown constant {printable(constant)!r}; {known}")
    values = {
        constant: converted(types[constant], value, f"method {name}: {constant}")
        for constant, value in (constants or {}).items()
    }
    return dataclasses.replace(method, **values)


def constants_of(name: str) -> dict[str, Any]:
    """A method's own numeric settings, with their defaults. Raises UsageError for unknown methods."""
    method = _of_table(name)
    return {constant: getattr(method, constant) for constant in _constant_types(method)}


def _constant_types(method: Method) -> dict[str, type]:
    """The numeric fields that a subclass of `Method` adds or redeclares, with their types."""
    classes = type(method).__mro__
    declared = {name for kind in classes[: classes.index(Method)] for name in vars(kind).get("__annotations__", {})}
    hints = typing.get_type_hints(type(method))
    names = [field.name for field in dataclasses.fields(method)]
    return {name: hints[name] for name in names if name in declared and hints[name] in (int, float)}


def _of_table(name: str) -> Method:
    if name in METHODS:
        return METHODS[name]
    base, _, predictor = name.rpartition("+")
    if base in METHODS and predictor in PREDICTORS:
        return dataclasses.replace(METHODS[base], name=name, predictor=PREDICTORS[predictor])
    raise unknown_method(name)


def needs_of(method: Method) -> list[str]:
    """What weights must have for a method, in words."""
    needs = {
        ORDINARY_FEATURES: method.needs_ordinary_features,
        PREPARED_ENCODER: method.needs_preparation,
        RECONSTRUCTION_HEAD: method.needs_reconstruction,
    }
    return [what for what, is_needed in needs.items() if is_needed]


def what_is_there(weights: Weights) -> list[str]:
    """What weights have of that which a method may need."""
    companion = weights.companion
    there = {
        ORDINARY_FEATURES: weights.has_ordinary_features,
        PREPARED_ENCODER: companion is not None and companion.head is not None and companion.has_encoder,
        RECONSTRUCTION_HEAD: weights.has_reconstruction,
    }
    return [what for what, is_there in there.items() if is_there]


def check_defined(name: str, task: str, weights: Weights) -> None:
    """Raises UsageError if the method makes no sense for the task, or needs what the weights do not have."""
    method = method_named(name)
    there = what_is_there(weights)
    missing = [what for what in needs_of(method) if what not in there]
    if missing:
        shown = printable(weights.name)
        raise UsageError(
            f"method {printable(name)}: weights {shown} lack {' and '.join(missing)}; "
            f"tttv weights prepare {shown} --images DIR adds what is missing"
        )
    if method.needs_class_probabilities and not weights.has_class_probabilities:
        raise UsageError(
            f"method {printable(name)}: needs the probability of each class at each pixel, and weights "
            f"{printable(weights.name)} only find objects; choose another method, such as joint"
        )
    if method.moves_normalization and weights.has_frozen_normalization:
        raise UsageError(
            f"method {printable(name)}: moves normalization layers, and those of {printable(weights.name)} are frozen "
            "(FrozenBatchNorm); choose a method that trains all of the encoder, such as online or align"
        )
    if method.decodes_masked and weights.companion is not None and weights.companion.visible_only:
        raise UsageError(
            f"method {printable(name)}: asks h about masked pictures, and weights {printable(weights.name)} were "
            "prepared to encode only what is shown of them; prepare them without --visible-only"
        )
    for part in (method, method.predictor):
        if task in part.undefined_for:
            raise UsageError(f"method {printable(name)} is not defined for the task {task}: {part.undefined_because}")


def defined_methods(weights: Weights, task: str) -> tuple[list[str], list[str]]:
    """The methods that can run with these weights for the task, and why the others cannot."""
    runnable, reasons = [], []
    for name in METHODS:
        try:
            weights_for(name, weights)
            check_defined(name, task, weights)
            runnable.append(name)
        except UsageError as error:
            reasons.append(str(error))
    return runnable, reasons
