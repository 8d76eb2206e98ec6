"""The command line as a whole, and the commands weights, demo, doctor and train."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PATIENCE, error_of
from PIL import Image

from ttt_cli import __version__
from ttt_cli.adaptation.methods import METHODS
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.cli import _console, demo, main
from ttt_cli.cli.train import _stop_asked
from ttt_cli.core.errors import printable

Capture = pytest.CaptureFixture[str]
NAMES = ("segment", "bench", "eval", "train", "demo", "weights", "doctor")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in NAMES)])
def test_help_and_version_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from ttt_cli.cli import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert (__version__ if "--version" in arguments else "Usage") in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_short_options(name: str, capsys: Capture) -> None:
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out
    assert "Usage" in shown
    assert ("--out" in shown) == ("-o " in shown)


def test_the_help_of_segment_fits_two_screens(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["segment", "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) <= 100
    panels = [re.escape(name) for name in ("Options", "Input", "Adaptation", "Output", "Machine")]
    assert re.search(".*".join(f"─ {name} ─" for name in panels), short, re.DOTALL)
    assert "--mask-ratio" not in short

    assert main(["segment", "--help-all"]) == 0
    everything = capsys.readouterr().out
    assert "--mask-ratio" in everything
    assert set(re.findall("--[a-z-]+", short)) < set(re.findall("--[a-z-]+", everything))


@pytest.mark.parametrize(
    ("name", "words"), [("eval", '"pooled" is one score'), ("weights import", "19 are Cityscapes'")]
)
def test_the_terminal_breaks_the_lines_of_help(
    name: str, words: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert main([*name.split(), "--help"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if words in line)
    assert line.rstrip().endswith(".") and line.count(". ") >= 1


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["segmnt"], "segment"),
        (["weights", "lst"], "list"),
        (["CLIP"], "tttv segment CLIP?"),
        (["segment", "CLIP", "--methd", "online"], "--method?"),
        (["segment", "CLIP", "--method", "onlin"], "online or offline?"),
        (["segment", "CLIP", "--weights", "steet"], "street?"),
        (["segment", "CLIP", "--task", "semantc"], "semantic?"),
        (["segment", "CLIP", "--classes", "Road"], "road?"),
        (["segment", "CLIP", "--set", "adaptaton.window=3"], "adaptation?"),
        (["segment", "CLIP", "--set", "adaptation.windw=3"], "window or auto_window?"),
        (["eval", "--dataset", "camvd", "--gt", "."], "camvid?"),
        (["eval", "--dataset", "camvid", "--gt", ".", "--degrade", "fogg"], "fog?"),
    ],
)
def test_errors_say_what_may_be_meant(arguments: list[str], meant: str, clip: Path, capsys: Capture) -> None:
    assert main([word.replace("CLIP", str(clip)) for word in arguments]) == 2
    error = error_of(capsys)
    assert re.search(f"did you mean '?{re.escape(meant.replace('CLIP', str(clip)))}", error, re.IGNORECASE), error


@pytest.mark.parametrize(
    ("arguments", "code"), [(["segment", "absent.mp4"], 1), (["segment", "absent.mp4", "--methd", "online"], 2)]
)
def test_json_has_errors_too(arguments: list[str], code: int, capsys: Capture) -> None:
    assert main([*arguments, "--json"]) == code
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert said["exit_code"] == code
    assert printed.err == f"error: {said['error']}\n"


def complete(words: str, home: Path) -> str:
    """What bash is answered that asks how the last of the words may go on."""
    code = "import sys; sys.argv[:1] = ['tttv']; from ttt_cli.cli import main; sys.exit(main())"
    asked = {"_TTTV_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, **asked, "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")
def test_completion(tmp_path: Path) -> None:
    assert complete("tttv seg", tmp_path).split() == ["segment"]
    assert "--weights" in complete("tttv segment clip.mp4 --wei", tmp_path)
    assert "online+self-train" in complete("tttv segment clip.mp4 --method onl", tmp_path)
    assert "street-plain" in complete("tttv segment clip.mp4 --weights str", tmp_path)

    code = "import sys; sys.argv[:1] = ['tttv']; from ttt_cli.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--install-completion", "bash"]
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run(command, env=environment, check=True, timeout=PATIENCE)
    assert "_TTTV_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "tttv.sh").read_text()


HEAVY = ("torch", "transformers", "scipy", "torchmetrics", "timm", "torchvision")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["segment", "absent.mp4"], 1),
        (["segment", "CLIP", "--methd", "online"], 2),
        (["segment", "CLIP", "--method", "onlin"], 2),
        (["segment", "CLIP", "--window", "0"], 2),
        (["segment", "CLIP", "--lr", "2"], 2),
        (["segment", "CLIP", "--set", "adaptation.windw=3"], 2),
        (["segment", "CLIP", "--task", "colorization"], 2),
        (["segment", "CLIP", "--classes", "unicorn"], 2),
        (["segment", "CLIP", "--start", "100"], 1),
        (["segment", "CLIP", "--config", "absent.toml"], 2),
        (["segment", "CLIP", "--weights", "absent"], 2),
        (["segment", "CLIP", "--gt", "absent"], 1),
        (["segment", "CLIP", "--out", "TAKEN"], 1),
        (["colorize", "absent.mp4"], 1),
        (["eval", "--dataset", "camvid", "--gt", "absent"], 1),
        (["eval", "--dataset", "camvid", "--gt", "TAKEN", "--method", "onlin"], 2),
        (["bench", "absent.mp4"], 1),
    ],
)
def test_mistakes_are_told_before_torch_is_imported(
    arguments: list[str], code: int, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").touch()
    places = {"CLIP": str(clip), "TAKEN": str(tmp_path)}
    done = imported([places.get(word, word) for word in arguments])
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout == "imported:\n"


def imported(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own, which prints in the end which of HEAVY it has imported."""
    program = (
        "import sys; from ttt_cli.cli import main; code = main(sys.argv[1:]); "
        f"print('imported:', *(name for name in {HEAVY} if name in sys.modules)); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("own", [None, "ACTIVE"])
def test_threads_that_wait_sleep_unless_the_user_wants_otherwise(own: str | None) -> None:
    program = "import os; from ttt_cli.cli import main; main(['--version']); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if own is None else {"OMP_WAIT_POLICY": own}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split()[-1] == (own or "PASSIVE")


def test_a_run_imports_only_what_it_needs(clip: Path, tmp_path: Path) -> None:
    arguments = ["segment", str(clip), "--max-frames", "1", "--out", str(tmp_path / "out"), "--quiet"]
    done = imported(arguments)
    assert done.returncode == 0, done.stderr
    assert "torchmetrics" not in done.stdout and " torch " in done.stdout


def test_no_command_shows_the_help(capsys: Capture) -> None:
    assert main([]) == 0
    assert "segment" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_output_is_an_error(tiny_weights: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ttt_cli", "weights", "show", str(tiny_weights)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def test_the_unexpected_is_one_line_and_a_hint(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(MaskedReconstruction, "loss", broken)
    assert segment(clip) == 1
    assert "TTTV_DEBUG" in error_of(capsys)
    monkeypatch.setenv("TTTV_DEBUG", "1")
    assert segment(clip) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
@pytest.mark.parametrize(
    ("options", "code"), [(["--max-frames", "2"], 0), (["--max-frames", "2", "--json"], 0), (["--config", "absent"], 2)]
)
def test_a_reader_that_goes_away_does_not_change_the_exit_code(
    clip: Path, tiny_weights: Path, tmp_path: Path, options: list[str], code: int
) -> None:
    arguments = ["segment", str(clip), "--weights", str(tiny_weights), "--method", "joint", *options]
    command = [sys.executable, "-m", "ttt_cli", *arguments, "--out", str(tmp_path / "out")]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    os.close(writing)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="programs of Unix")
@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/absent", "/dev/null", "/tmp"])
def test_a_broken_ffmpeg_is_named(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, program: str
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    assert segment(clip) == 1
    error = error_of(capsys)
    assert error.startswith(f"error: {program}: is no ffmpeg")
    assert "IMAGEIO_FFMPEG_EXE" in error


def test_weights_commands(tiny_weights: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTTV_WEIGHTS", str(tmp_path))
    assert main(["weights", "list"]) == 0
    assert "street" in capsys.readouterr().out
    assert main(["weights", "show", str(tiny_weights)]) == 0
    assert "bicyclist" in capsys.readouterr().out
    assert main(["weights", "verify", str(tiny_weights)]) == 0
    assert "whole, sha256" in capsys.readouterr().out

    (tmp_path / "street.safetensors").write_bytes(tiny_weights.read_bytes())
    assert main(["weights", "verify", "street"]) == 1
    assert "sha256" in error_of(capsys)


@pytest.mark.skipif(not find_spec("skvideo"), reason="needs the extra demo")
def test_demo(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "street-plain.safetensors").write_bytes(tiny_weights.read_bytes())
    monkeypatch.setenv("TTTV_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["demo", "--max-frames", "9"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0].split()[0] for line in said] == ["What", "Look", "Next"]
    shares = [int(share) for share in re.findall(r"(\d+)%", said[0])]
    assert len(shares) == 2 and all(0 <= share <= 100 for share in shares)
    assert len(list(Path("runs/demo/masks-fixed").iterdir())) == 9
    assert sorted(path.name for path in Path("runs").iterdir()) == ["demo", "demo-dusk.mp4"]


@pytest.mark.skipif(not find_spec("skvideo"), reason="needs the extra demo")
def test_demo_leaves_a_file_of_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path("mine-dusk.mp4")
    mine.write_text("mine")
    assert main(["demo", "--out", "mine"]) == 1
    assert "no demo wrote it" in error_of(capsys)
    assert mine.read_text() == "mine"


def test_demo_without_its_clip(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert main(["demo"]) == 1
    assert 'pip install "tttv[demo]"' in error_of(capsys)


def test_methods_are_listed(tiny_weights: Path, capsys: Capture) -> None:
    assert main(["methods", "--weights", str(tiny_weights)]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {re.escape(name)}\b", shown, re.MULTILINE) for name in METHODS)
    assert re.findall(r"(\S+) \(default\)", shown) == ["online"]
    assert re.search(r"prepared +the fixed model .*needs a\s+prepared encoder\s+\(not there\)", shown, re.DOTALL)

    assert main(["methods", "--weights", str(tiny_weights), "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["methods"]}
    assert list(listed) == list(METHODS)
    assert {name for name, row in listed.items() if row["trains"]} >= {"online", "tent", "align", "offline"}
    assert not any(listed[name]["trains"] for name in ("joint", "clamp", "auto", "ln-adapt", "mirror"))
    assert listed["align"]["needs"] == ["the features of ordinary pictures"] and listed["align"]["lacking"] == []
    assert "colorization" in listed["tent"]["not_for"]


def test_tables_fit_80_columns(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    classes = ["sky", "sign symbol", "traffic light"]
    titles = ("online+self-train, window 16", "online+ln-adapt, window 16", "temporal-smoothing")
    _console.table("by class", ("", *titles), [(name, "53.37 ± 0.02", "55.10 ± 0.02", "7") for name in classes])
    columns = ("method", "pooled", "gain", "paper", "s/frame", "x joint", "MiB")
    _console.table("scores", columns, [(titles[0], "53.37 ± 0.02", "+55.10", "0.21 ± 0.02", "0.321", "12.23", "1234")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in classes:
        assert any(re.match(f"  {name}  .* 7$", line.rstrip()) for line in lines), name
    for column in columns:
        assert any(re.search(rf"\b{column}\b", line) for line in lines), column


def test_addresses_keep_both_slashes(capsys: Capture) -> None:
    assert main(["report", "https://localhost/run"]) == 1
    assert error_of(capsys).startswith("error: https://localhost/run: ")
    assert printable(Path("a:/b")) == "a:/b" and printable("https:/a") == "https:/a"


def test_doctor(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "street-plain.safetensors").write_bytes(tiny_weights.read_bytes())
    monkeypatch.setenv("TTTV_WEIGHTS", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "ffmpeg" in capsys.readouterr().out
    monkeypatch.setattr("ttt_cli.model.own.folders", lambda: iter([tmp_path / "absent"]))
    assert main(["doctor"]) == 1
    assert "FAILED" in capsys.readouterr().out


RECIPE = """
name = "made-up"
license = "none"
imagenet = false
[[sources]]
kind = "camvid"
folder = "drive"
held_out = 1
[model]
encoder = { name = "test_efficientnet" }
main_head = { queries = 12, channels = 32, pixel_decoder_layers = 1, decoder_layers = 1 }
reconstruction_head = { channels = 32, pixel_decoder_layers = 1, decoder_layers = 1 }
[augmentation]
crop_height = 64
crop_width = 64
[schedule]
steps = 3
batch = 1
"""


def test_train_makes_weights_and_resumes(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "labels"):
        Path("drive", kind).mkdir(parents=True)
        for index in range(3):
            pixels = np.full((64, 64), 3 * index, np.uint8)
            picture = pixels if kind == "labels" else pixels[:, :, None].repeat(3, axis=2)
            Image.fromarray(picture).save(f"drive/{kind}/{index}.png")
    Path("recipe.toml").write_text(RECIPE)
    train = ["train", "--config", "recipe.toml", "--data", ".", "--out", "out"]
    assert main([*train, "--max-steps", "2"]) == 0
    assert main(train) == 1
    assert "--resume" in error_of(capsys)
    assert main([*train, "--resume"]) == 0
    assert "step 3: miou_clean" in capsys.readouterr().err
    lines = [json.loads(line) for line in Path("out/train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["scores"]["miou_clean"] >= 0
    assert main(["weights", "verify", "out/made-up.safetensors"]) == 0

    assert main([*train[:-1], "elsewhere", "--resume"]) == 1
    assert "no checkpoint" in error_of(capsys)


def test_ctrl_c_in_training_waits_for_the_end_of_the_step() -> None:
    with _stop_asked() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
