"""A published model on this disk: a folder in the layout of transformers, checked without loading the model.

Neither torch nor transformers is imported here.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ttt_cli.core.checksum import sha256
from ttt_cli.core.errors import TttvError, UsageError, printable

CONFIG, PREPROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
SMP_CLASS = "_model_class"
"""The key by which configs of segmentation_models_pytorch name their class; those of transformers have no such key."""
COPY_AGAIN = "copy the whole folder again"


@dataclass(frozen=True)
class Snapshot:
    """A published model on this disk. Its files are there and readable; the model may still be of an unknown kind."""

    folder: Path
    weights: tuple[Path, ...]
    """The files with the tensors: one, or the shards in the order of their names."""
    source: str
    """What the user wrote: a hub id, perhaps with @revision, or the folder's path."""
    revision: str | None
    """The commit hash of a hub snapshot; None for a plain folder."""
    license: str | None
    """The license that its card (README.md) states; None if it states none."""

    @property
    def is_pickle(self) -> bool:
        """Whether the weights are pickles, to be loaded with torch.load(weights_only=True) only."""
        return self.weights[0].suffix == ".bin"


def folder_snapshot(path: str | Path, *, allow_pickle: bool = False) -> Snapshot:
    """A folder that the user names. Raises UsageError if there is none, TttvError if files are missing or damaged."""
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{printable(path)}: no such folder")
    return read_snapshot(folder, str(path), COPY_AGAIN, allow_pickle=allow_pickle)


def read_snapshot(
    folder: Path, source: str, remedy: str, *, revision: str | None = None, allow_pickle: bool = False
) -> Snapshot:
    """Checks a folder. Safetensors are preferred to pickles, whatever is allowed.

    remedy: what to do about missing and damaged files, for the error message.
    Raises TttvError if the config or weights are missing, cut off or, without `allow_pickle`, only pickles.
    """
    shown = printable(source)
    if not (folder / CONFIG).is_file():
        raise TttvError(f"{shown}: has no {CONFIG}, so it is not in the layout of transformers, or not whole; {remedy}")
    for name in (CONFIG, PREPROCESSOR):
        if (folder / name).is_file():
            _read_object(folder / name, remedy)
    if has_weights(folder, SAFETENSORS):
        weights = _weights(folder, SAFETENSORS, shown, remedy)
        for path in weights:
            _check_safetensors(path, remedy)
    elif not has_weights(folder, PICKLE):
        raise TttvError(f"{shown}: has a {CONFIG} but neither {SAFETENSORS} nor {PICKLE}; {remedy}")
    elif allow_pickle:
        weights = _weights(folder, PICKLE, shown, remedy)
    else:
        raise only_pickle(source)
    return Snapshot(folder, weights, source, revision, _license(folder / CARD))


def has_weights(folder: Path, name: str) -> bool:
    """Whether the folder has the weights `name`, SAFETENSORS or PICKLE, in one file or as an index of shards."""
    return (folder / name).is_file() or _index(folder, name).is_file()


def only_pickle(source: str) -> TttvError:
    """The error for a model without safetensors."""
    return TttvError(
        f"{printable(source)}: has no {SAFETENSORS}, only {PICKLE}, a pickle, which can run code when it is opened "
        "carelessly; add --allow-pickle if you trust its authors"
    )


def is_of_smp(snapshot: Snapshot) -> bool:
    """Whether it is a model of segmentation_models_pytorch rather than of transformers."""
    return SMP_CLASS in json.loads((snapshot.folder / CONFIG).read_bytes())


def fingerprint(snapshot: Snapshot, *others: str) -> str:
    """The sha256, in hexadecimal, of the names and contents of its config and weights. Read once for each process.

    others: names of files in the folder to be included, where they exist.
    """
    digest = hashlib.sha256()
    there = [path for path in map(snapshot.folder.joinpath, others) if path.is_file()]
    for path in (snapshot.folder / CONFIG, *snapshot.weights, *there):
        digest.update(f"{path.name} {sha256(path)}\n".encode())
    return digest.hexdigest()


def _index(folder: Path, name: str) -> Path:
    return folder / f"{name}.index.json"


def _weights(folder: Path, name: str, shown: str, remedy: str) -> tuple[Path, ...]:
    if (folder / name).is_file():
        return (folder / name,)
    index = _index(folder, name)
    listed = _read_object(index, remedy).get("weight_map")
    shards = sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []
    # A shard lies beside its index. A name that leads elsewhere would make us read, and hash, any file.
    if not shards or any(Path(shard).name != shard or Path(shard).suffix != Path(name).suffix for shard in shards):
        raise TttvError(f"{printable(index)}: lists no weight files beside it; {remedy}")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        count = f"{len(missing)} of {len(shards)} weight files are missing"
        raise TttvError(f"{shown}: is not whole: {count} ({printable(missing[0])}); {remedy}")
    return tuple(folder / shard for shard in shards)


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise TttvError(f"{printable(path)}: is cut off or no JSON ({printable(error)}); {remedy}") from error
    if not isinstance(content, dict):
        raise TttvError(f"{printable(path)}: must be a JSON object; {remedy}")
    return content


def _check_safetensors(path: Path, remedy: str) -> None:
    """The header says how long the file is, so a part of a file, or a git-lfs pointer in its place, is noticed."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        cause = printable(error)
        raise TttvError(f"{printable(path)}: is cut off or no safetensors file ({cause}); {remedy}") from error


def _license(card: Path) -> str | None:
    """The license in the YAML at the top of a model card. "other" usually comes with a name, which is added."""
    try:
        text = card.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    front_matter = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    line = r"^(license|license_name):[ \t]*([^#\s].*?)[ \t]*(?: #.*)?$"
    found = re.findall(line, front_matter[1], re.MULTILINE) if front_matter else []
    fields = {key: value.strip("'\"") for key, value in found}
    license_, name = fields.get("license"), fields.get("license_name")
    return f"{license_} ({name})" if license_ and name else license_
