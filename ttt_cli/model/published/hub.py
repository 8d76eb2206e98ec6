"""Published models of the Hugging Face hub: found in its cache on this disk, or downloaded into it.

Everything goes through huggingface_hub, which honors HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN and the rest. Only
configuration, tokenizer, card and safetensors are downloaded; pickles only if there are no safetensors and the user
allows them. Neither torch nor transformers is imported here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.model.published.snapshot import PICKLE, SAFETENSORS, Snapshot, has_weights, only_pickle, read_snapshot

FILES = ["*.json", "*.txt", "README.md", "LICENSE*", SAFETENSORS, "model-*-of-*.safetensors"]
"""What is downloaded of a repository, from its top folder only. Vocabularies of tokenizers are JSON and text."""
PICKLE_FILES = [PICKLE, "pytorch_model-*-of-*.bin"]

_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(\S+))?", re.ASCII)
_WEIGHTS_FILES = (".safetensors", ".bin", ".ckpt", ".pkl", ".pt", ".pth")


def looks_like_hub_id(text: str) -> bool:
    """Whether `text` is "owner/name" or "owner/name@revision", and no file or folder here."""
    return bool(_ID.fullmatch(text)) and not text.endswith(_WEIGHTS_FILES) and not Path(text).exists()


def hub_snapshot(text: str, *, allow_pickle: bool = False, progress: bool = True) -> Snapshot:
    """The model that a hub id names, downloaded if the cache has not all of it.

    text: "owner/name" or "owner/name@revision", a branch, a tag or a commit; without one, the main branch. The hub is
    asked for the newest commit of a branch; if it cannot be reached, the newest one in the cache is used.
    progress: whether bars are shown while files are downloaded, on standard error, if that is a terminal.

    Raises UsageError if `text` is no hub id, TttvError if the model cannot be had, is not whole, has no config or
    weights, or has only pickles and they are not allowed.
    """
    return _snapshot(text, allow_pickle, progress and not in_cache(text), local_only=False)


def in_cache(text: str) -> bool:
    """Whether the cache has a whole model under this hub id. The hub is not asked."""
    try:
        _snapshot(text, allow_pickle=True, progress=False, local_only=True)
    except TttvError:
        return False
    return True


def _snapshot(text: str, allow_pickle: bool, progress: bool, local_only: bool) -> Snapshot:
    match = _ID.fullmatch(text)
    if not match:
        raise UsageError(
            f"{printable(text)}: no id of a model on the hub; write OWNER/NAME or OWNER/NAME@REVISION, or a short name "
            "that tttv weights list --hub shows"
        )
    repository, revision = match[1], match[2]
    folder = _download(text, repository, revision, FILES, progress, local_only)
    commit = folder.name
    if not has_weights(folder, SAFETENSORS):
        if allow_pickle:
            # Of the same commit, whatever the newest of the branch is by now.
            folder = _download(text, repository, commit, PICKLE_FILES, progress, local_only)
        if not has_weights(folder, PICKLE) and not local_only:
            _check_that_hub_has_weights(text, repository, commit)
    remedy = f"run tttv weights pull {printable(text)} with a network, to complete what the cache has of it"
    return read_snapshot(folder, text, remedy, revision=commit, allow_pickle=allow_pickle)


def _download(
    text: str, repository: str, revision: str | None, patterns: list[str], progress: bool, local_only: bool
) -> Path:
    """The snapshot's folder in the cache. If the hub cannot be reached, it may lack files."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns="*/*",
            local_files_only=local_only,
            tqdm_class=_bar(progress),
        )
    except Exception as error:  # Errors of the network, of the transfer and of files have no base class in common.
        # Without a network, the library refuses a snapshot that lacks any file, be it the card. What a model needs at
        # least is checked by read_snapshot.
        incomplete = getattr(error, "snapshot_path", None)
        if incomplete is None:
            raise _explained(error, text, repository) from error
        folder = incomplete
    return Path(folder)


def _check_that_hub_has_weights(text: str, repository: str, commit: str) -> None:
    """Tells a model that has no weights we can read from one whose weights have not been downloaded yet."""
    from huggingface_hub import HfApi

    try:
        names = HfApi().list_repo_files(repository, revision=commit)
    except Exception:  # Then it is not known, and the files that are missing here are what there is to say.
        return
    if PICKLE in names:
        raise only_pickle(text)
    if not any(name.startswith((SAFETENSORS, PICKLE)) for name in names):
        raise TttvError(f"{printable(text)}: has neither {SAFETENSORS} nor {PICKLE}; choose a model of transformers")


def _bar(shown: bool) -> type[Any]:
    """The library's progress bar, which vanishes at the end and is not written into files."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options |= {"disable": not (shown and sys.stderr.isatty()), "leave": False}
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

    return Bar


def _explained(error: Exception, text: str, repository: str) -> TttvError:
    """One line for the user: the cause and what to do."""
    from huggingface_hub import constants, errors

    shown, page = printable(text), f"{constants.ENDPOINT}/{repository}"
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{shown}: no id of a model on the hub ({_first_line(error)})")
    if isinstance(error, errors.GatedRepoError):  # Is a RepositoryNotFoundError too.
        return TttvError(f"{shown}: is gated; accept its terms on {page}, then run `hf auth login`")
    if isinstance(error, errors.RepositoryNotFoundError):
        return TttvError(
            f"{shown}: there is no such folder here, and no such model on the hub; check the spelling, or run "
            "`hf auth login` if it is private"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return TttvError(f"{shown}: the model has no such branch, tag or commit; {page} lists them")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set"
        elif isinstance(error.__cause__, errors.HfHubHTTPError):
            reason = f"the hub answers {error.__cause__.response.status_code}"
        else:
            reason = f"the hub cannot be reached ({_first_line(error.__cause__ or error)})"
        return TttvError(
            f"{shown}: is no folder here and not whole in the cache {printable(constants.HF_HUB_CACHE)}, and {reason}; "
            f"run tttv weights pull {shown} on a machine with a network and copy its cache here, or name a folder"
        )
    return TttvError(f"{shown}: the download failed ({_first_line(error)}); run the command again")


def _first_line(error: BaseException) -> str:
    return printable((str(error).strip() or type(error).__name__).splitlines()[0])
