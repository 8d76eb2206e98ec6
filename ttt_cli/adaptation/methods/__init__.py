"""The table of methods. To add one: write a file beside these and add a line here."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.class_balance import BalancedSelfTrain, BalancedTent
from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.offline import Offline, OfflineOracle
from ttt_cli.adaptation.methods.online import MaskedReconstruction, NoMemory
from ttt_cli.adaptation.methods.online_ln_adapt import ReconstructAndFollow
from ttt_cli.adaptation.methods.online_self_train import ReconstructAndSelfTrain
from ttt_cli.adaptation.methods.self_train import SelfTrain
from ttt_cli.adaptation.methods.tent import Tent
from ttt_cli.adaptation.predictors import PREDICTORS, Smoothing, Vote
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import converted

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("main-only"),  # Weights of its own make the difference, see weights.py.
        Method("joint"),
        NoMemory("no-memory"),
        MaskedReconstruction("implicit", window=1),
        MaskedReconstruction("explicit", carry=False),
        MaskedReconstruction("online"),
        Offline("offline"),
        OfflineOracle("offline-oracle"),
        StatisticsAdapt("ln-adapt"),
        Tent("tent"),
        BalancedTent("tent+cb"),
        SelfTrain("self-train"),
        BalancedSelfTrain("self-train+cb"),
        ReconstructAndSelfTrain("online+self-train"),
        ReconstructAndFollow("online+ln-adapt"),
        Method("majority-vote", predictor=Vote),
        Method("temporal-smoothing", predictor=Smoothing),
    )
}


def method_named(name: str, constants: Mapping[str, Any] | None = None) -> Method:
    """A method of the table, or one of them with a predictor on top: `online+vote`, `tent+cb+smoothing`.

    constants: replace those of `constants_of`.
    Raises UsageError for other names, of methods and of constants, and for constants of another type.
    """
    method = _of_table(name)
    types = _constant_types(method)
    for constant in constants or {}:
        if constant not in types:
            known = f"known: {', '.join(types)}" if types else "it has none"
            raise UsageError(f"method {printable(name)}: unknown constant {printable(constant)!r}; {known}")
    values = {
        constant: converted(types[constant], value, f"method {name}: {constant}")
        for constant, value in (constants or {}).items()
    }
    return dataclasses.replace(method, **values)


def constants_of(name: str) -> dict[str, Any]:
    """The numbers that a method declares for itself, with their defaults. Raises UsageError for unknown methods."""
    method = _of_table(name)
    return {constant: getattr(method, constant) for constant in _constant_types(method)}


def _constant_types(method: Method) -> dict[str, type]:
    """Fields that `Method` does not declare, or that a method declares anew."""
    classes = type(method).__mro__
    own = {name for kind in classes[: classes.index(Method)] for name in vars(kind).get("__annotations__", {})}
    hints = typing.get_type_hints(type(method))
    names = [field.name for field in dataclasses.fields(method)]
    return {name: hints[name] for name in names if name in own and hints[name] in (int, float)}


def _of_table(name: str) -> Method:
    if name in METHODS:
        return METHODS[name]
    base, _, predictor = name.rpartition("+")
    if base in METHODS and predictor in PREDICTORS:
        return dataclasses.replace(METHODS[base], name=name, predictor=PREDICTORS[predictor])
    raise UsageError(
        f"method {printable(name)!r} is unknown; known: {', '.join(METHODS)}, and each with "
        f"{' or '.join('+' + one for one in PREDICTORS)}"
    )


def check_defined(name: str, task: str) -> None:
    """Raises UsageError where the method of this name makes no sense for the task."""
    method = method_named(name)
    for one in (method, method.predictor):
        if task in one.undefined_for:
            raise UsageError(f"method {printable(name)} is not defined for the task {task}: {one.undefined_because}")
