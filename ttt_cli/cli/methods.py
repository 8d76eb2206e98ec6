"""`tttv methods`: lists the methods, with what each does, takes and needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.model.own import STREET

if TYPE_CHECKING:
    from ttt_cli.model.weights import Weights

EPILOG = """Examples:

tttv methods

tttv methods --weights coco --json"""


def methods(
    weights: options.WeightsName = STREET, allow_pickle: options.AllowPickle = False, as_json: options.Json = False
) -> None:
    """List the methods for --method: what each does, whether it trains, and what it needs.

    The default is that of the weights; what these lack is said behind it.
    """
    from ttt_cli.adaptation.catalog import ON_TOP
    from ttt_cli.model.opening import open_weights
    from ttt_cli.run.folder import to_json

    with _console.spinner("loading PyTorch", not as_json):
        rows = _described(open_weights(weights, allow_pickle))
    if as_json:
        _console.raw(to_json({"methods": rows, "on_top": ON_TOP}))
        return
    _console.facts("methods", [(row["name"] + (" (default)" if row["default"] else ""), _line(row)) for row in rows])
    _console.facts("on top of any, such as online+vote", [(f"+{name}", text) for name, text in ON_TOP.items()])


def _described(weights: Weights) -> list[dict[str, Any]]:
    from ttt_cli.adaptation.catalog import SUMMARIES
    from ttt_cli.adaptation.methods import METHODS, needs_of, what_is_there
    from ttt_cli.adaptation.settings import AdaptationSettings

    default = weights.adaptation.get("method", AdaptationSettings.method)
    return [
        {
            "name": name,
            "default": name == default,
            "summary": SUMMARIES[name],
            "trains": method.trains,
            "needs": needs_of(method),
            "lacking": [what for what in needs_of(method) if what not in what_is_there(weights)],
            "not_for": sorted({*method.undefined_for, *method.predictor.undefined_for}),
        }
        for name, method in METHODS.items()
    ]


def _line(row: dict[str, Any]) -> str:
    needs = f"needs {' and '.join(row['needs'])}" if row["needs"] else ""
    lacking = " (not there)" if row["lacking"] else ""
    not_for = f"not for {', '.join(row['not_for'])}" if row["not_for"] else ""
    return "; ".join(
        part for part in (row["summary"], "trains" if row["trains"] else "", needs + lacking, not_for) if part
    )
