"""Published models: the hub's cache, downloads from a small hub on this machine, and folders in the same layout."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from conftest import PATIENCE, picture, save_frames
from huggingface_hub import constants
from safetensors.numpy import save

from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.model.published.hub import hub_snapshot, in_cache, looks_like_hub_id
from ttt_cli.model.published.selection import SELECTION, SHORT_NAMES, expand
from ttt_cli.model.published.snapshot import COPY_AGAIN, Snapshot, fingerprint, folder_snapshot

ID = "owner/name"
COMMIT, NEWER = "1" * 40, "2" * 40
CARD = "---\nlicense: other\nlicense_name: its-own\ntags:\n- vision\n---\n# A model\n"

Files = dict[str, bytes]
Pull = Callable[..., tuple[int, str, str]]


def model_files(value: float = 1.0) -> Files:
    """A model in one file, with what comes with it."""
    return {
        "config.json": b'{"architectures": ["SegformerForSemanticSegmentation"]}',
        "preprocessor_config.json": b"{}",
        "README.md": CARD.encode(),
        "model.safetensors": save({"weight": np.full(64, value, np.float32)}),
    }


def sharded_files() -> Files:
    """The same in two shards."""
    files = model_files()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files |= dict.fromkeys(shards, files.pop("model.safetensors"))
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}).encode()
    return files


class Bomb:
    """Runs a command when its pickle is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def pickled_files(marker: Path) -> Files:
    """The same with a pickle that leaves `marker` behind if it is ever loaded."""
    files = model_files()
    del files["model.safetensors"]
    return {**files, "pytorch_model.bin": pickle.dumps(Bomb(f"echo loaded > {marker}"))}


def write(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def lay_cache(cache: Path, files: Files, hub_id: str = ID, commit: str = COMMIT) -> Path:
    """Puts a snapshot into a cache as the library does: blobs, links to them, a branch. Returns its folder."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    write({f"{number}{commit}": content for number, content in enumerate(files.values())}, blobs)
    for number, name in enumerate(files):
        (snapshot / name).symlink_to(Path("../../blobs", f"{number}{commit}"))
    write({"main": commit.encode()}, repository / "refs")
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def error_in(call: Callable[[], object]) -> str:
    """The message of the error that `call` raises, which is one line."""
    with pytest.raises(TttvError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Folders


@pytest.mark.parametrize("files", [model_files(), sharded_files()], ids=["whole", "sharded"])
def test_a_folder(files: Files, tmp_path: Path) -> None:
    snapshot = folder_snapshot(write(files, tmp_path / "model"))
    names = sorted(name for name in files if name.endswith(".safetensors"))
    assert [path.name for path in snapshot.weights] == names
    assert (snapshot.folder, snapshot.source) == (tmp_path / "model", str(tmp_path / "model"))
    assert (snapshot.revision, snapshot.license) == (None, "other (its-own)")
    assert not snapshot.is_pickle


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        folder_snapshot(tmp_path / "absent")


WHOLE, SHARDED = model_files(), sharded_files()
INDEX = "model.safetensors.index.json"
SPOILED = {
    "no config": ({**WHOLE, "config.json": None}, "has no config.json"),
    "config cut off": ({**WHOLE, "config.json": b'{"architectures": ['}, "config.json: is cut off or no JSON"),
    "config is a list": ({**WHOLE, "config.json": b"[]"}, "config.json: must be a JSON object"),
    "preprocessor cut off": ({**WHOLE, "preprocessor_config.json": b"{"}, "preprocessor_config.json: is cut off"),
    "no weights": ({**WHOLE, "model.safetensors": None}, "neither model.safetensors nor pytorch_model.bin"),
    "weights cut off": ({**WHOLE, "model.safetensors": WHOLE["model.safetensors"][:-1]}, "safetensors: is cut off"),
    "git-lfs pointer": (
        {**WHOLE, "model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"},
        "or no safetensors file",
    ),
    "no shard": (
        {**SHARDED, "model-00002-of-00002.safetensors": None},
        "1 of 2 weight files are missing (model-00002-of-00002.safetensors)",
    ),
    "shard cut off": ({**SHARDED, "model-00002-of-00002.safetensors": b"12345678"}, "00002.safetensors: is cut off"),
    "index cut off": ({**SHARDED, INDEX: b"{"}, f"{INDEX}: is cut off"),
    "index without a map": ({**SHARDED, INDEX: b"{}"}, "lists no weight files"),
    "index leads out": ({**SHARDED, INDEX: b'{"weight_map": {"a": "../model.safetensors"}}'}, "lists no weight files"),
    "index of others": ({**SHARDED, INDEX: b'{"weight_map": {"a": "config.json"}}'}, "lists no weight files"),
}


@pytest.mark.parametrize(("files", "message"), SPOILED.values(), ids=SPOILED)
def test_a_spoiled_folder(files: dict[str, bytes | None], message: str, tmp_path: Path) -> None:
    folder = write({name: content for name, content in files.items() if content is not None}, tmp_path / "model")
    error = error_in(lambda: folder_snapshot(folder))
    assert error.startswith(str(folder))
    assert message in error
    assert error.endswith(COPY_AGAIN)


def test_pickles_must_be_allowed(tmp_path: Path) -> None:
    folder = write(pickled_files(tmp_path / "marker"), tmp_path / "model")
    error = error_in(lambda: folder_snapshot(folder))
    assert "has no model.safetensors" in error
    assert "--allow-pickle" in error
    snapshot = folder_snapshot(folder, allow_pickle=True)
    assert snapshot.is_pickle
    assert snapshot.weights == (folder / "pytorch_model.bin",)
    write(model_files(), folder)
    assert folder_snapshot(folder, allow_pickle=True).weights == (folder / "model.safetensors",)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ('---\ntags:\n- license: no\nlicense: "apache-2.0"  # since 2024\n---\n', "apache-2.0"),
        ("---\r\nlicense: other\r\nlicense_name: a b\r\n---\r\n", "other (a b)"),
        ("\ufeff---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense:\n---\n", None),
        ("---\ntags: []\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_license_is_the_cards(card: str, stated: str | None, tmp_path: Path) -> None:
    folder = write({**model_files(), "README.md": card.encode()}, tmp_path / "model")
    assert folder_snapshot(folder).license == stated
    (folder / "README.md").unlink()
    assert folder_snapshot(folder).license is None


def test_a_fingerprint_is_of_config_and_weights(tmp_path: Path) -> None:
    def of(files: Files, name: str) -> str:
        return fingerprint(folder_snapshot(write(files, tmp_path / name)))

    first = of(model_files(), "first")
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert of({**model_files(), "README.md": b"another card"}, "card") == first
    others = [of(model_files(2.0), "weights"), of({**model_files(), "config.json": b"{}"}, "config")]
    assert len({first, *others, of(sharded_files(), "shards")}) == 4


def test_a_fingerprint_is_computed_once(tmp_path: Path) -> None:
    snapshot = folder_snapshot(write(model_files(), tmp_path / "model"))
    (path,) = snapshot.weights
    status = path.stat()
    first = fingerprint(snapshot)
    path.write_bytes(model_files(2.0)["model.safetensors"])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(snapshot) == first  # It was not read again ...
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprint(snapshot) != first  # ... until it has visibly changed.


# The cache


@pytest.mark.parametrize("text", [ID, f"{ID}@main", f"{ID}@{COMMIT}"])
def test_a_cached_model_needs_no_network(text: str, cache: Path) -> None:
    folder = lay_cache(cache, model_files())
    assert hub_snapshot(text) == Snapshot(folder, (folder / "model.safetensors",), text, COMMIT, "other (its-own)")
    assert in_cache(text)


def test_a_model_that_is_not_cached_and_no_network(cache: Path) -> None:
    lay_cache(cache, model_files())
    for text in ("owner/other", f"{ID}@v2", f"{ID}@{NEWER}"):
        error = error_in(partial(hub_snapshot, text))
        assert error.startswith(text)
        assert "HF_HUB_OFFLINE is set" in error
        assert f"tttv weights pull {text}" in error
        assert str(cache) in error
        assert not in_cache(text)


def test_a_half_downloaded_model(cache: Path) -> None:
    folder = lay_cache(cache, sharded_files())
    (folder / "model-00002-of-00002.safetensors").resolve().unlink()
    error = error_in(lambda: hub_snapshot(ID))
    assert "1 of 2 weight files are missing" in error
    assert f"run tttv weights pull {ID} with a network" in error
    assert not in_cache(ID)


def test_remains_of_an_earlier_download_do_not_matter(cache: Path) -> None:
    folder = lay_cache(cache, model_files())
    blob = (folder / "model.safetensors").resolve()
    blob.with_name(f"{blob.name}.0a1b2c3d.incomplete").write_bytes(b"half")
    assert in_cache(ID)


def test_a_cached_pickle_must_be_allowed(cache: Path, tmp_path: Path) -> None:
    lay_cache(cache, pickled_files(tmp_path / "marker"))
    assert "--allow-pickle" in error_in(lambda: hub_snapshot(ID))
    assert hub_snapshot(ID, allow_pickle=True).is_pickle
    assert not (tmp_path / "marker").exists()


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ids = [model.hub_id for model in SELECTION] + [f"{ID}@v1.0", f"{ID}@refs/pr/4", f"{ID}@{COMMIT}"]
    assert all(map(looks_like_hub_id, ids))
    paths = ["street", "coco", "a/b/c", "./a", "../a/b", "/a/b", "a/b.safetensors", "a/b.pkl", "a/", f"{ID}@", "a/b c"]
    assert not any(map(looks_like_hub_id, paths))
    (tmp_path / "owner").mkdir()
    assert looks_like_hub_id(ID)
    (tmp_path / "owner" / "name").mkdir()
    assert not looks_like_hub_id(ID)


@pytest.mark.parametrize("text", ["coco", "a/b/c", "../b", f"{ID}@", "own--er/name", "owner/name."])
def test_what_is_no_hub_id_is_wrong_usage(text: str, cache: Path) -> None:
    with pytest.raises(UsageError, match="no id of a model on the hub"):
        hub_snapshot(text)


def test_short_names_are_of_the_selection() -> None:
    selected = {model.hub_id: model for model in SELECTION}
    assert len(selected) == len(SELECTION)
    for name, hub_id in SHORT_NAMES.items():
        assert expand(name) == hub_id
        assert not selected[hub_id].is_pickle
    assert expand(ID) == ID


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from ttt_cli.model.published.hub import in_cache; assert not in_cache('owner/absent');"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


# Downloads


class Hub(ThreadingHTTPServer):
    """As much of the hub as a download needs: one model, with what can go wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.commit = COMMIT
        self.files = model_files()
        self.gated = False
        self.refused = ""
        """A file that is not handed out."""
        self.cut = ""
        """A file of which only the first half arrives, once."""
        self.sent: list[str] = []
        """The names of the files that were downloaded."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Request(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        info = re.fullmatch(rf"/api/models/{ID}(?:/(?:revision|tree)/([^/]+))?", path)
        file = re.fullmatch(rf"/{ID}/resolve/{hub.commit}/(.*)", path)
        if info and info[1] not in (None, "main", hub.commit):
            self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        elif info and "/tree/" in path:
            entries = [{"type": "file", "path": name, "size": len(hub.files[name]), "oid": name} for name in hub.files]
            self.answer(200, json.dumps(entries).encode())
        elif info:
            self.answer(200, json.dumps({"id": ID, "sha": hub.commit, "siblings": []}).encode())
        elif not file:
            self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        elif hub.gated:
            self.answer(403, headers={"X-Error-Code": "GatedRepo"})
        elif file[1] == hub.refused:
            self.answer(403)
        else:
            self.send(file[1])

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, name: str) -> None:
        content = self.server.files[name]
        start = int(re.findall(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[0])
        headers = {"ETag": f'"{name}-{len(content)}"', "X-Repo-Commit": self.server.commit}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.server.sent.append(name)
        length = None
        if name == self.server.cut and self.command == "GET":
            length, self.server.cut = len(content) // 2, ""
        self.answer(206 if start else 200, content[start:], headers, length)

    def answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:length])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def pull(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pull:
    """`tttv weights pull` from the small hub into an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))

    def call(*arguments: str, address: str = hub.address, offline: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        path = urlsplit(constants.HUGGINGFACE_CO_URL_TEMPLATE).path
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)
        code = main(["weights", "pull", *arguments])
        captured = capsys.readouterr()
        return code, re.sub(r"\s+", " ", captured.out), captured.err

    return call


def failure(done: tuple[int, str, str]) -> str:
    """The only line on standard error of a command that failed."""
    code, _, error = done
    assert code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def success(done: tuple[int, str, str]) -> str:
    """The output of a command that succeeded."""
    code, output, error = done
    assert (code, error) == (0, "")
    return output


def test_the_environment_says_where_hub_and_cache_are(hub: Hub, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address}
    command = [sys.executable, "-m", "ttt_cli", "weights", "pull", ID]
    for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, "")
        assert COMMIT in done.stdout
    assert (tmp_path / "home" / "hub" / "models--owner--name" / "snapshots" / COMMIT / "config.json").is_file()


def test_pull_downloads_what_is_needed_once(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    needed = {**model_files(), "vocab.json": b"{}", "merges.txt": b"a b"}
    others = dict.fromkeys(["model.fp16.safetensors", "tf_model.h5", "onnx/config.json"], b"not needed")
    hub.files = {**needed, **pickled_files(tmp_path / "marker"), **others}
    output = success(pull(ID))
    assert sorted(hub.sent) == sorted(needed)
    folder = tmp_path / "home" / "hub" / "models--owner--name" / "snapshots" / COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == needed
    assert all(text in output for text in (COMMIT, "other (its-own)", "model.safetensors"))
    assert str(folder) in output.replace(" ", "")
    assert success(pull(ID)) == success(pull(ID, offline=True)) == output
    assert sorted(hub.sent) == sorted(needed)


def test_pull_downloads_shards(hub: Hub, pull: Pull) -> None:
    hub.files = sharded_files()
    assert "model-00002-of-00002.safetensors" in success(pull(ID))
    assert sorted(hub.sent) == sorted(hub.files)


def test_pull_gets_the_newest_commit_and_keeps_the_old_one(hub: Hub, pull: Pull) -> None:
    assert COMMIT in success(pull(ID))
    hub.commit, hub.files = NEWER, {**model_files(), "model.safetensors": save({"weight": np.zeros(65)})}
    assert NEWER in success(pull(ID))
    assert COMMIT in success(pull(f"{ID}@{COMMIT}", offline=True))


def test_pull_takes_pickles_only_if_allowed_and_loads_none(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hub.files = pickled_files(marker)
    assert "add --allow-pickle if you trust its authors" in failure(pull(ID))
    assert "pytorch_model.bin" not in hub.sent
    assert "pytorch_model.bin" in success(pull(ID, "--allow-pickle"))
    assert hub.sent.count("pytorch_model.bin") == 1
    assert not marker.exists()


def test_a_model_without_any_weights(hub: Hub, pull: Pull) -> None:
    hub.files = {"config.json": b"{}", "tf_model.h5": b"no"}
    for arguments in ([ID], [ID, "--allow-pickle"]):
        assert "neither model.safetensors nor pytorch_model.bin; choose" in failure(pull(*arguments))


def test_a_model_of_another_program(hub: Hub, pull: Pull) -> None:
    del hub.files["config.json"]
    assert "has no config.json" in failure(pull(ID))


def test_errors_of_the_hub(hub: Hub, pull: Pull) -> None:
    assert "no such model on the hub" in failure(pull("owner/absent"))
    assert "no such branch, tag or commit" in failure(pull(f"{ID}@v9"))
    hub.gated = True
    error = failure(pull(ID))
    assert f"accept its terms on {hub.address}/{ID}" in error
    assert "hf auth login" in error


def test_no_hub_at_all(hub: Hub, pull: Pull) -> None:
    error = failure(pull(ID, address="http://127.0.0.1:1"))
    assert "the hub cannot be reached" in error
    assert "copy its cache" in error
    assert success(pull(ID)) == success(pull(ID, address="http://127.0.0.1:1"))


def test_a_broken_connection_is_resumed(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    hub.cut = "model.safetensors"
    code, _, error = pull(ID)
    if code:  # Older versions of the library resume in the next run only.
        assert "run the command again" in error
        success(pull(ID))
    assert hub.sent.count("model.safetensors") == 2
    (downloaded,) = tmp_path.rglob("model.safetensors")
    assert downloaded.read_bytes() == hub.files["model.safetensors"]


def test_a_download_that_failed_is_completed_later(hub: Hub, pull: Pull) -> None:
    hub.refused = "model.safetensors"
    assert "the hub answers 403" in failure(pull(ID))
    error = failure(pull(ID, offline=True))
    assert "neither model.safetensors nor pytorch_model.bin" in error
    assert f"run tttv weights pull {ID} with a network" in error
    hub.refused = ""
    hub.sent.clear()
    success(pull(ID))
    assert hub.sent == ["model.safetensors"]


def test_a_copied_cache_does_not_need_its_card(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    success(pull(ID))
    (card,) = tmp_path.rglob("README.md")
    card.unlink()
    assert "not stated" in success(pull(ID, offline=True))


def test_list_shows_what_is_cached(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--hub"]) == 0
    listed = capsys.readouterr().out
    assert "in the cache" not in listed
    assert all(model.hub_id in listed for model in SELECTION)
    lay_cache(cache, model_files(), SHORT_NAMES["coco"])
    assert main(["weights", "list", "--hub"]) == 0
    (cached,) = re.findall(r"^ *coco +(\S+)(?:.*\n){1,2}.*in the cache", capsys.readouterr().out, re.MULTILINE)
    assert cached == SHORT_NAMES["coco"]


def test_two_commands_from_an_id_to_a_model_that_adapts(
    cache: Path, published: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {path.name: path.read_bytes() for path in published("segformer").iterdir()}
    folder = lay_cache(cache, {**files, "README.md": CARD.encode()})
    pictures = save_frames([picture(seed) for seed in range(8)], tmp_path / "pictures")
    assert main(["weights", "prepare", ID, "--images", str(pictures), "--fast"]) == 0
    assert main(["segment", str(pictures), "--weights", ID, "--max-frames", "2", "--out", "run"]) == 0
    report = json.loads(Path("run/run.json").read_text())
    assert report["settings"]["adaptation"]["method"] == "auto"
    assert report["weights"]["revision"] == COMMIT
    assert report["weights"]["license"] == "other (its-own)"
    assert [path.name for path in folder.iterdir() if not path.is_symlink()] == ["tttv.companion.safetensors"]
