"""Labels whose classes have other names, or another order, than those of the weights: `--map LABEL=WEIGHTS`."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence

from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import UsageError, printable

VOID_NAME = "void"
"""What `--map NAME=void` says of a class: it is not scored."""

SAME = (
    {"pavement", "sidewalk", "footpath"},
    {"pedestrian", "person", "people", "human"},
    {"bicyclist", "cyclist", "rider"},
    {"bicycle", "bike"},
    {"motorcycle", "motorbike", "minibike"},
    {"car", "auto", "automobile", "vehicle"},
    {"tree", "trees", "vegetation"},
    {"sign symbol", "traffic sign", "sign", "signboard"},
    {"building", "house"},
    {"road", "street"},
    {"airplane", "aeroplane", "plane"},
    {"couch", "sofa"},
    {"tv", "television", "tvmonitor", "tv/monitor"},
    {"dining table", "diningtable", "table"},
    {"potted plant", "pottedplant", "plant"},
)
"""Names that data sets give the same class."""
OFFERED = 4
"""How many pairs of names a message offers."""
CLOSE = 0.8
"""How alike names must be to be offered for one another, 0..1 (difflib)."""


def parse_renames(texts: Iterable[str]) -> dict[str, str]:
    """The weights' names by those of the labels, from `LABEL=WEIGHTS`. Raises UsageError for other texts."""
    pairs = {}
    for text in texts:
        label, equals, known = (part.strip() for part in text.partition("="))
        if not (label and equals and known):
            raise UsageError(f"--map takes LABEL=WEIGHTS, such as sidewalk=pavement, not {printable(text)!r}")
        pairs[label] = known
    return pairs


def check_renames(renames: Mapping[str, str], labeled: Iterable[str], known: Sequence[str]) -> None:
    """Raises UsageError if the labels have no class of a name on the left, or the weights none of one on the right."""
    labels = sorted(set(labeled))
    for label, name in renames.items():
        if label not in labels:
            raise UsageError(f"--map {_pair(label, name)}: the labels have no such class; they have {few(labels)}")
        if name not in (VOID_NAME, *known):
            hint = _likely(name, known)
            meant = "" if hint is None else f"; did you mean {_pair(label, hint)}?"
            raise UsageError(f"--map {_pair(label, name)}: the weights know {few(known)}, and {VOID_NAME}{meant}")


def positions_in(known: Sequence[str], labeled: Sequence[str], renames: Mapping[str, str]) -> list[int]:
    """For each class of the labels its position among those of the weights; VOID for classes that are not scored.

    Raises KeyError, with all of them as its arguments, if the weights do not know some of the classes.
    """
    positions = {VOID_NAME: VOID} | {name: position for position, name in enumerate(known)}
    names = [renames.get(name, name) for name in labeled]
    unknown = [label for label, name in zip(labeled, names, strict=True) if name not in positions]
    if unknown:
        raise KeyError(*unknown)
    return [positions[name] for name in names]


def unlabeled(known: Sequence[str], positions: Iterable[int]) -> frozenset[int]:
    """The classes of the weights that no class of the labels stands for."""
    return frozenset(range(len(known))).difference(positions)


def differs(labeled: Iterable[str], known: Sequence[str]) -> str:
    """The message that the weights do not know some classes of labels, with what to type instead."""
    unknown = list(labeled)
    offers = {name: _likely(name, known) for name in unknown}
    meant = ""
    if any(offers.values()):
        pairs = [f"--map {_pair(label, name or VOID_NAME)}" for label, name in offers.items()]
        meant = f"did you mean {' '.join(pairs[:OFFERED])}{' ...' if len(pairs) > OFFERED else ''}? Otherwise "
    return (
        f"labeled with {few(unknown)}, which the weights do not know; they know {few(known)}; "
        f"{meant}name the class that is meant with --map LABEL=WEIGHTS, or choose others with --weights"
    )


def few(names: Iterable[str]) -> str:
    """The first twelve names in alphabetical order, and how many more there are."""
    listed = sorted(printable(name) for name in names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def _pair(label: str, name: str) -> str:
    return shlex.quote(printable(f"{label}={name}"))


def _likely(name: str, known: Sequence[str]) -> str | None:
    """The class of the weights that is probably meant by a name; None if there is none."""
    simple = {_simple(other): other for other in known}
    same = next((names for names in SAME if _simple(name) in names), {_simple(name)})
    meant = [simple[other] for other in sorted(same) if other in simple]
    close = [simple[other] for other in difflib.get_close_matches(_simple(name), simple, 1, CLOSE)]
    return next(iter(meant + close), None)


def _simple(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()
