"""Models of others whose files are made to do harm: each ends in one line that names the file, and nothing is run."""

from __future__ import annotations

import copy
import json
import pickle
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pickle_fixtures import DEEP, zip_file
from safetensors.numpy import save_file
from test_smp import Folder, folder  # noqa: F401

from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError
from ttt_cli.model.companion import companion_path, read_companion
from ttt_cli.model.opening import open_alone
from ttt_cli.model.published.detectron import _require_local

Published = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
PATIENCE = 30.0
"""Seconds that a case may take on a busy machine; most take a few tenths of one."""
FUZZ_SECONDS = 6.0
REMOTE = {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoImageProcessor": "evil.Evil"}}


@pytest.fixture(autouse=True)
def nothing_is_asked_of_a_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[object] = []

    def refuse(*arguments: object, **options: object) -> None:
        asked.append(arguments)
        raise OSError("there is no network here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    yield
    assert not asked


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def change(model: Path, name: str, changes: dict[str, Any]) -> None:
    """Sets values in a config, those within others by names with dots."""
    content = json.loads((model / name).read_text())
    for key, value in changes.items():
        *tables, last = key.split(".")
        table = content
        for part in tables:
            table = table[part]
        table[last] = value
    (model / name).write_text(json.dumps(content))


def verified(model: Path, capsys: Capture, *more: str) -> tuple[int, str]:
    """The exit code of `tttv weights verify`, and its error."""
    began = time.monotonic()
    code = main(["weights", "verify", str(model), *more])
    assert time.monotonic() - began < PATIENCE
    error = capsys.readouterr().err
    assert "(unexpected" not in error
    assert error.count("\n") == (code != 0)
    assert code == 0 or (str(model) in error and len(error) < len(str(model)) + 600), error
    return code, error


DOWNLOADED = "would be downloaded"
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("segformer", CONFIG, {"depths": [1, 1, 10**6, 1]}, "depths is 1000000, and at most 200"),
    ("segformer", CONFIG, {"depths": 1}, "cannot be loaded"),
    ("segformer", CONFIG, {"hidden_sizes": [10**9] * 4}, "hidden_sizes is 1000000000"),
    ("segformer", CONFIG, {"hidden_sizes": [10**30] * 4}, "hidden_sizes is 1000000000000"),
    ("segformer", CONFIG, {"hidden_sizes": {"a": {"b": 1}}}, "cannot be loaded"),
    ("segformer", CONFIG, {"hidden_act": "evil.run"}, "cannot be loaded"),
    ("segformer", CONFIG, {"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
    ("segformer", CONFIG, {"strides": []}, "cannot be loaded"),
    ("segformer", CONFIG, {"hidden_act": nested(50)}, "nested more than 20 deep"),
    ("segformer", CONFIG, {"architectures": 3}, "is a 3, which cannot be adapted"),
    ("segformer", CONFIG, {"architectures": [["x" * 10_000]]}, "which cannot be adapted"),
    ("segformer", CONFIG, {"architectures": ["os.system"]}, "is a os.system, which cannot be adapted"),
    ("segformer", CONFIG, {"id2label": {"0": "a", "-1": "b"}}, "does not name its classes"),
    ("segformer", CONFIG, {"id2label": {str(n): "a" for n in range(300)}}, "300 classes"),
    ("segformer", CONFIG, {"dtype": "os.system"}, "cannot be loaded"),
    ("mask2former", CONFIG, {"decoder_layers": 10**4}, "decoder_layers is 10000"),
    ("mask2former", CONFIG, {"backbone_config": "https://example.com/x"}, "cannot be loaded"),
    ("mask2former", CONFIG, {"backbone_config": None, "backbone": "hf-hub:a/b", "use_timm_backbone": True}, DOWNLOADED),
    ("mask2former", CONFIG, {"backbone_config": None, "backbone": "a/b", "use_pretrained_backbone": True}, DOWNLOADED),
    ("dpt", CONFIG, {"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:a/b"}}, DOWNLOADED),
    ("mask2former", CONFIG, {"backbone_config": None, "backbone": "resnet18"}, DOWNLOADED),
    ("mask2former", CONFIG, {"backbone_config": {"model_type": "timm_backbone", "backbone": "no"}}, "cannot be loaded"),
    ("segformer", PREPROCESSOR, {"image_std": [0.0, 0.0, 0.0]}, "image_std are not what"),
    ("segformer", PREPROCESSOR, {"image_mean": [1.0]}, "image_std are not what"),
    ("segformer", PREPROCESSOR, {"image_mean": "x"}, "cannot be used"),
    ("segformer", PREPROCESSOR, {"rescale_factor": 0}, "cannot be used"),
    ("segformer", PREPROCESSOR, {"size": {"height": 10**5, "width": 10**5}}, "width is 100000, and at most 8192"),
    ("segformer", PREPROCESSOR, {"size": 10**5}, "size is 100000, and at most 8192"),
    ("segformer", PREPROCESSOR, {"image_processor_type": "evil.Evil"}, "cannot be used"),
    ("segformer", PREPROCESSOR, {"image_processor_type": 3}, "cannot be used"),
]
"""Family, file, changes, and what the error says."""


@pytest.mark.parametrize(("family", "name", "changes", "message"), BAD, ids=[f"{b[0]} {list(b[2])}" for b in BAD])
def test_configs_that_make_no_model(
    published: Published,
    tmp_path: Path,
    capsys: Capture,
    family: str,
    name: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    model = shutil.copytree(published(family), tmp_path / "model")
    capsys.readouterr()
    change(model, name, changes)
    code, error = verified(model, capsys)
    assert code == 1
    assert message in error


@pytest.mark.parametrize(
    "changes",
    [
        {"resample": 2**20},
        {"resample": -1},
        {"size": {"height": 0, "width": 0}},
        {"size": {"height": 8192, "width": 1}},
        {"size": {"height": -5, "width": 8}},
        {"size": {"longest_edge": 3}},
        {"size": {}},
        {"do_resize": "x"},
        {"do_reduce_labels": [1]},
        {"size_divisor": -3},
        {"size_divisor": 10**6},
        {"do_center_crop": True, "crop_size": {"height": 10**5, "width": -1}},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_image_processors_that_make_no_pictures(
    published: Published, clip: Path, tmp_path: Path, capsys: Capture, changes: dict[str, Any], family: str
) -> None:
    model = shutil.copytree(published(family), tmp_path / "model")
    change(model, PREPROCESSOR, changes)
    capsys.readouterr()
    began = time.monotonic()
    arguments = ["--weights", str(model), "--max-frames", "1", "--quiet", "--out", str(tmp_path / "out")]
    code = main(["segment", str(clip), *arguments])
    assert time.monotonic() - began < PATIENCE
    error = capsys.readouterr().err
    assert code in (0, 1) and error.count("\n") == code and "(unexpected" not in error, error


@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_code_beside_a_model_is_not_run(published: Published, tmp_path: Path, capsys: Capture, family: str) -> None:
    model = shutil.copytree(published(family), tmp_path / "model")
    for name in (CONFIG, PREPROCESSOR):
        change(model, name, {**REMOTE, "trust_remote_code": True})
    for name in ("evil.py", "modeling_evil.py", "__init__.py"):
        (model / name).write_text(f"open({str(tmp_path / 'was-here')!r}, 'w')\n")
    assert verified(model, capsys)[0] == 0
    change(model, CONFIG, {"model_type": "evil"})
    verified(model, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 3, 0.5, 2**31, 10**30, 1e308, float("nan"), float("inf"), "", "x", "../../x"),
    *("https://example.com/x", "hf-hub:a/b", "a/b", [], [0], [-1, 2], [10**9] * 4, [1] * 3000, {}, {"a": {"b": 1}}),
    *(nested(30), {"model_type": "bert"}, REMOTE),
]


def names_in(table: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place in nested tables."""
    for name, value in table.items():
        yield table, name
        if isinstance(value, dict):
            yield from names_in(value)


@pytest.mark.parametrize("family", ["segformer", "dpt", "smp"])
def test_configs_with_any_values(
    published: Published,
    folder: Folder,  # noqa: F811
    tmp_path: Path,
    capsys: Capture,
    family: str,
) -> None:
    """For some seconds, as many as there are time for."""
    model = tmp_path / "model"
    shutil.copytree(folder("DeepLabV3Plus") if family == "smp" else published(family), model)
    whole = {path: path.read_text() for path in model.glob("*.json")}
    dice, codes, ends = random.Random(0), [], time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < ends or len(codes) < 5:
        path = dice.choice(sorted(whole))
        content = json.loads(whole[path])
        for table, name in dice.sample(list(names_in(content)), dice.choice((1, 1, 2))):
            table[name] = copy.deepcopy(dice.choice(VALUES))
        path.write_text(json.dumps(content))
        codes.append(verified(model, capsys)[0])
        path.write_text(whole[path])
    assert set(codes) <= {0, 1} and 1 in codes


def test_encoders_of_smp_that_are_not_known(folder: Folder, tmp_path: Path, capsys: Capture) -> None:  # noqa: F811
    for name in (
        "tu-hf-hub:a/b",
        "hf-hub:a/b",
        "tu-hf_hub:a/b",
        "https://example.com/x",
        "tu-local-dir:/x",
        "resnet" * 999,
    ):
        model = tmp_path / "model"
        shutil.copytree(folder("DeepLabV3Plus"), model)
        change(model, CONFIG, {"encoder_name": name})
        assert "which neither smp nor timm has" in verified(model, capsys)[1]
        shutil.rmtree(model)


@pytest.mark.parametrize("family", ["segformer", "smp"])
def test_pickles_beside_a_config(
    published: Published,
    folder: Folder,  # noqa: F811
    tmp_path: Path,
    capsys: Capture,
    family: str,
) -> None:
    """PyTorch's own reader does not survive the first."""
    model = tmp_path / "model"
    shutil.copytree(folder("DeepLabV3Plus") if family == "smp" else published(family), model)
    (model / "model.safetensors").unlink()
    for content in (zip_file(b"\x80\x02}" + DEEP + b"Ns."), pickle.dumps(print), b"", b"PK\x03\x04"):
        (model / "pytorch_model.bin").write_bytes(content)
        assert "add --allow-pickle" in verified(model, capsys)[1]
        code, error = verified(model, capsys, "--allow-pickle")
        assert code == 1 and "pytorch_model.bin: cannot be read" in error


COMPANIONS: list[dict[str, Any]] = [
    {"head": {"channels": [10**9], "strides": [4], "width": 8}},
    {"head": {"channels": [8] * 10_000, "strides": [4] * 10_000, "width": 8}},
    {"head": {"channels": [8], "strides": [10**6], "width": 8}},
    {"head": {"channels": [8], "strides": [0], "width": 8}},
    {"head": {"channels": [8], "strides": [4], "width": 10**6}},
    {"head": {"channels": [8], "strides": [4], "width": -1}},
    {"head": {"channels": [], "strides": [], "width": 8}},
    {"head": {"channels": [8, 8], "strides": [4], "width": 8}},
    {"head": {"channels": "x", "strides": [4], "width": 8}},
    {"head": nested(30)},
    {"head": {"channels": [8], "strides": [4], "width": 8}},  # Without its tensors.
    {"fingerprint": None},
    {"adaptation": "x"},
    {"adaptation": {"learning_rate": "x"}},
    {"adaptation": {"method": "evil"}},
    {"reconstruction": {"target": 3}},
    {"ordinary": {"mean": [], "deviation": []}},
    {"unheard": 1},
]


@pytest.mark.parametrize("changes", COMPANIONS, ids=[str(changes)[:60] for changes in COMPANIONS])
def test_companions(tiny_weights: Path, clip: Path, tmp_path: Path, capsys: Capture, changes: dict[str, Any]) -> None:
    weights = Path(shutil.copy(tiny_weights, tmp_path / "w.safetensors"))
    path = companion_path(weights)
    record = {"fingerprint": open_alone(str(weights)).fingerprint(), "pictures": 1}
    record |= {"ordinary": {"mean": [1.0] * 3, "deviation": [1.0] * 3}, **changes}
    save_file({}, path, metadata={"format": "tttv-companion-1", "record": json.dumps(record)})
    began = time.monotonic()
    code = main(["weights", "verify", str(weights)])
    if "adaptation" in changes:  # Settings are checked where they are used.
        capsys.readouterr()
        code = main(["segment", str(clip), "--weights", str(weights), "--out", str(tmp_path / "out")])
    assert time.monotonic() - began < PATIENCE
    error = capsys.readouterr().err
    assert code != 0 and error.count("\n") == 1 and "(unexpected" not in error
    assert str(path) in error or "adaptation" in changes


def test_a_record_that_is_no_json(tiny_weights: Path, tmp_path: Path) -> None:
    for record in ("{", "[]", "[" * 100_000, "3", "\udc80".encode("utf-8", "surrogatepass").decode("latin-1")):
        path = tmp_path / "x.companion.safetensors"
        save_file({}, path, metadata={"format": "tttv-companion-1", "record": record})
        with pytest.raises(TttvError, match="is damaged"):
            read_companion(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("_BASE_: https://example.com/x.yaml\n", "not downloaded"),
        ("{'_BA\\x53E_': x}\n_BASE_: [a.yaml, 's3://b/x.yaml']\n", "is no config"),
        ("_BASE_: [a.yaml, 's3://b/x.yaml']\n", "not downloaded"),
        ('"_BA\\x53E_": http://example.com/x.yaml\n', "not downloaded"),
        ("_BASE_: self.yaml\n", "or on itself"),
        ("_BASE_: absent.yaml\n", "is no config"),
        ("_BASE_: {a: 1}\n", "not downloaded"),
        ("a: !!python/object/apply:os.system ['touch was-here']\n", "is no config"),
        ("[" * 10_000, "is no config"),
    ],
)
def test_configs_of_detectron2(tmp_path: Path, config: str, message: str) -> None:
    (tmp_path / "self.yaml").write_text(config)
    (tmp_path / "a.yaml").write_text("MODEL: {}\n")
    with pytest.raises(TttvError, match=message) as caught:
        _require_local(tmp_path / "self.yaml")
    assert "self.yaml" in str(caught.value) and "\n" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 2


def test_bases_on_this_disk_are_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("_BASE_: ../b.yaml\n")
    (tmp_path / "b.yaml").write_text("MODEL: {}\n")
    _require_local(tmp_path / "sub" / "a.yaml")
