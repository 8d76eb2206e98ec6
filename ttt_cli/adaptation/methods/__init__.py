"""The table of methods. To add one: write a file beside these and add a line here."""

from __future__ import annotations

import dataclasses

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.class_balance import BalancedSelfTrain, BalancedTent
from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.offline import Offline, OfflineOracle
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.methods.online_ln_adapt import ReconstructAndFollow
from ttt_cli.adaptation.methods.online_self_train import ReconstructAndSelfTrain
from ttt_cli.adaptation.methods.self_train import SelfTrain
from ttt_cli.adaptation.methods.tent import Tent
from ttt_cli.adaptation.predictors import PREDICTORS, Smoothing, Vote
from ttt_cli.core.errors import UsageError, printable

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("main-only"),  # Weights of its own make the difference, see weights.py.
        Method("joint"),
        # The paper takes "more steps" a frame without naming how many; 4 is ours.
        MaskedReconstruction("no-memory", carry=False, window=1, steps=4),
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


def method_named(name: str) -> Method:
    """A method of the table, or one of them with a predictor on top: `online+vote`, `tent+cb+smoothing`.

    Raises UsageError for other names.
    """
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
