"""Many inputs in one command: each a run of its own, whoever makes it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, error_of
from test_resume import content
from video_fixtures import make_video

from ttt_cli.core import workers
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.workers import in_processes
from ttt_cli.many.local import Runs
from ttt_cli.many.units import Shard, parse_shard, units_of
from ttt_cli.many.work import carry_out
from ttt_cli.model.opening import open_weights
from ttt_cli.run.folder import RunFolder, claimed
from ttt_cli.run.lock import LOCK
from ttt_cli.run.request import RunRequest
from ttt_cli.run.settings import RunSettings, choose_device

Capture = pytest.CaptureFixture[str]
SETTINGS = ["--every", 3]


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three videos."""
    return [make_video(tmp_path / f"clip-{number}.mp4", seconds=0.5 + number / 10) for number in range(3)]


def summary(folder: str = "runs") -> dict[str, str]:
    """The status of each run, by the name of its folder."""
    runs = json.loads(Path(folder, "summary.json").read_text())["runs"]
    return {Path(run["folder"]).name: run["status"] for run in runs}


def test_each_is_a_run_of_its_own_and_made_once(
    segment: Callable[..., int], clips: list[Path], capsys: Capture
) -> None:
    Path("list.txt").write_text(f"# two again, and one that is missing\n\n{clips[1].name}\n{clips[0]}\nmissing.mp4\n")
    assert segment(*clips, "list.txt", "--out", "runs", *SETTINGS) == 3
    assert summary() == {
        "clip-0-online": "done",
        "clip-1-online": "done",
        "clip-2-online": "done",
        "missing-online": "failed",
    }
    printed = capsys.readouterr()
    assert "failed: " in printed.err and "no such file" in printed.err and "missing-online" in printed.out
    for clip in clips:
        assert segment(clip, "--out", f"alone/{clip.stem}", *SETTINGS) == 0
        assert content(Path("runs") / f"{clip.stem}-online") == content(Path("alone") / clip.stem)

    before = content(Path("runs"))
    assert segment(*clips, "--out", "runs", *SETTINGS) == 0
    assert set(summary().values()) == {"done before"}
    assert content(Path("runs")) == before
    assert segment(*clips, "--out", "runs", *SETTINGS, "--alpha", 0.1) == 3, "not the runs that are asked for"


def striking(folder: Path) -> tuple[threading.Thread, list[int]]:
    """A thread that kills the process that makes a run, after five frames; and a list that gets its number."""
    killed: list[int] = []

    def strike() -> None:
        log = RunFolder(folder).frames
        while not log.exists() or log.read_bytes().count(b"\n") < 5:
            time.sleep(0.01)
        killed.append(json.loads((folder / LOCK).read_text())["process"])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread, killed


@pytest.mark.skipif(os.name == "nt", reason="kills a process")
def test_workers_make_the_same_files_and_may_be_killed(
    segment: Callable[..., int], clips: list[Path], tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips.append(make_video(Path("long.mp4").absolute(), seconds=6))
    assert segment(*clips, "--out", "whole", *SETTINGS) == 0
    thread, killed = striking(Path("runs/long-online"))
    assert segment(*clips, "--out", "runs", "--workers", 2, *SETTINGS) == 0
    thread.join(PATIENCE)
    assert killed and killed[0] != os.getpid()
    assert set(summary().values()) == {"done"}
    assert content(Path("runs")) == content(Path("whole"))


def test_a_worker_that_always_dies_is_told(
    tmp_path: Path, tiny_weights: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of its process to tell why, so the outcome does."""
    monkeypatch.setattr(workers, "ATTEMPTS", 1)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(tiny_weights.read_bytes())
    request = RunRequest("", open_weights(str(weights), False), Dying(), choose_device("cpu"))  # type: ignore[arg-type]
    units = units_of([str(clips[0])], tmp_path / "runs", "x")
    outcomes = [outcome for _, outcome in in_processes(units, Runs(request), 2)]
    assert [outcome.status for outcome in outcomes] == ["failed"]
    assert outcomes[0].reason is not None and "ended by itself 1 times" in outcomes[0].reason


class Dying:
    """Settings that end the process that looks at them."""

    def __getattr__(self, name: str) -> object:
        if name == "adaptation":
            os._exit(7)
        raise AttributeError(name)


def test_an_interrupted_unit_is_the_last(
    segment: Callable[..., int], clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttt_cli.run.record import RunTotals

    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(RunTotals, "update", interrupted)
        assert segment(*clips, "--out", "runs", *SETTINGS) == 130
    assert summary() == {"clip-0-online": "interrupted"}
    assert segment(*clips, "--out", "runs", *SETTINGS) == 0


def test_shards_share_the_units(segment: Callable[..., int], clips: list[Path]) -> None:
    assert segment(*clips, "--out", "runs", "--shard", "1/2", *SETTINGS) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "clip-0-online",
        "clip-2-online",
        "summary-1-of-2.json",
    ]
    assert segment(*clips, "--out", "runs", "--shard", "2/2", *SETTINGS) == 0
    assert Path("runs/clip-1-online/run.json").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2", "1/0"])
def test_a_shard_that_makes_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="--shard must be I/N"):
        parse_shard(text)
    assert Shard(2, 2).of([]) == []


def test_names(tmp_path: Path) -> None:
    """Two inputs of one name get numbers, always the same ones; the same file under two names is one input."""
    for name in ("a/clip.mp4", "b/Clip.mkv", "b/other.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "b/other.mp4")
    sources = [str(tmp_path / name) for name in ("a/clip.mp4", "b/Clip.mkv", "b/other.mp4", "link.mp4")]
    units = units_of(sources, Path("out"), "auto")
    names = [unit.folder.name for unit in units]
    assert len(units) == 3 and names[2] == "other-auto"
    assert names[0].startswith("clip-") and names[1].startswith("Clip-")
    assert len({name.casefold() for name in names}) == 3
    assert units == units_of(sources, Path("out"), "auto")


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("b.txt\n")
    (tmp_path / "b.txt").write_text("x.mp4\na.txt\n")
    with pytest.raises(TttvError, match=r"a\.txt: names itself"):
        units_of([str(tmp_path / "a.txt")], tmp_path, "auto")
    with pytest.raises(TttvError, match=r"none\.txt: cannot be read"):
        units_of([str(tmp_path / "none.txt")], tmp_path, "auto")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TttvError, match="not a text file"):
        units_of([str(tmp_path / "c.txt")], tmp_path, "auto")
    with pytest.raises(UsageError, match="these are pictures"):
        units_of(["1.png", "2.png"], tmp_path, "auto")


def test_what_makes_no_sense_with_many(segment: Callable[..., int], clips: list[Path], capsys: Capture) -> None:
    assert segment(*clips, "--gt", "labels") == 2
    assert "--gt scores one video" in error_of(capsys)
    assert segment(*clips, "--ray", "auto", "--workers", 2) == 2
    capsys.readouterr()
    Path("runs").mkdir()
    Path("runs/summary.json").write_text('{"my": "summary"}')
    assert segment(*clips, "--out", "runs") == 1
    assert "was not written by tttv" in error_of(capsys)
    assert Path("runs/summary.json").read_text() == '{"my": "summary"}'


def test_a_run_on_another_machine_keeps_its_folder(clips: list[Path], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.path.mkdir()
    lease = folder.path / LOCK
    lease.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    with pytest.raises(TttvError, match="a run on elsewhere is writing here"), claimed(folder, clips[0], False):
        pass
    assert json.loads(lease.read_text())["host"] == "elsewhere"
    os.utime(lease, (time.time() - 1000, time.time() - 1000))
    with claimed(folder, clips[0], False):
        assert json.loads(lease.read_text())["host"] == socket.gethostname()
    assert os.listdir(folder.path) == []


def test_a_machine_that_is_gone_is_waited_for(
    segment: Callable[..., int], clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttt_cli.many import work
    from ttt_cli.run import lease

    for module in (work, lease):
        monkeypatch.setattr(module, "SECONDS_UNTIL_STALE", 0.5)
    monkeypatch.setattr(work, "SECONDS_BETWEEN_TRIES", 0.1)
    folder = Path("runs/clip-0-online")
    folder.mkdir(parents=True)
    (folder / LOCK).write_text(json.dumps({"host": "elsewhere", "process": 1}))
    assert segment(*clips[:2], "--out", "runs", *SETTINGS) == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of this machine alone."""
    pytest.importorskip("ray", reason="Ray is not installed (tttv[ray])")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", str(port)]
    start += ["--num-cpus", "2", "--include-dashboard=false", "--disable-usage-stats"]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not _answers(port):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_cluster_makes_the_same_files_and_may_lose_a_process(
    segment: Callable[..., int], clips: list[Path], cluster: str
) -> None:
    clips.append(make_video(Path("long.mp4").absolute(), seconds=6))
    assert segment(*clips, "--out", "whole", *SETTINGS) == 0
    thread, killed = striking(Path("runs/long-online"))
    assert segment(*clips, "--out", "runs", "--ray", cluster, *SETTINGS) == 0
    thread.join(PATIENCE)
    assert killed and killed[0] != os.getpid()
    assert set(summary().values()) == {"done"}
    assert content(Path("runs")) == content(Path("whole"))


def test_ray_that_is_not_there(tiny_weights: Path, tmp_path: Path, clips: list[Path]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (tttv[ray])")
    from ttt_cli.many.on_ray import on_ray

    request = RunRequest("", open_weights(str(tiny_weights), False), RunSettings(), choose_device("cpu"))
    units = units_of([str(clips[0])], tmp_path / "runs", "x")
    with pytest.raises(TttvError, match="no Ray cluster answers"):
        list(on_ray(units, request, "127.0.0.1:9", 1))
    with pytest.raises(UsageError, match="HOST:PORT"):
        list(on_ray(units, request, "nowhere", 1))
    assert carry_out(units[0], request).status == "done"
