"""Live input: a pipe, addresses and cameras."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PATIENCE, error_of
from video_fixtures import make_video

from ttt_cli.core.errors import PartialInput, TttvError, UsageError
from ttt_cli.core.frame import Frame, Video
from ttt_cli.tasks.film import picture_area
from ttt_cli.video import live
from ttt_cli.video.live import LiveSource, live_source
from ttt_cli.video.opening import open_input
from ttt_cli.video.reader import open_video
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.threads import prefetch

Capture = pytest.CaptureFixture[str]


def opened(address: str, **settings: object) -> Video:
    source = live_source(address)
    assert isinstance(source, LiveSource)
    return open_input(source, InputSettings(**settings))  # type: ignore[arg-type]


class Server:
    """Serves one file by HTTP, all of it or only a part, after which it is silent or hangs up."""

    def __init__(self, content: bytes, sent: int, silent: bool) -> None:
        self.let_go = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:sent])
                if silent:
                    server.let_go.wait(PATIENCE)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://user:secret@127.0.0.1:{self._server.server_port}/dir/street%20cam.mkv?token=secret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()


Serve = Callable[..., Server]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Serves a video of four seconds, 40 frames: a share of it, then silence or the end."""
    servers: list[Server] = []

    def serve(share: float = 1.0, silent: bool = False) -> Server:
        path = tmp_path / "served.mkv"
        if not path.exists():
            make_video(path, "-g", "5", "-pix_fmt", "yuv420p", seconds=4, size="160x120")
        content = path.read_bytes()
        servers.append(Server(content, int(len(content) * share), silent))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def test_an_address_gives_the_same_frames_as_the_file(served: Serve, tmp_path: Path) -> None:
    video = opened(served().address, stride=2, start=0.5, max_frames=9)
    file = open_video(tmp_path / "served.mkv", stride=2, start_seconds=0.5, max_frames=9)
    assert (video.size, video.fps, video.length, video.path) == (file.size, file.fps, None, None)
    pairs = list(zip(video.frames(), file.frames(), strict=True))
    assert len(pairs) == 9
    for frame, expected in pairs:
        assert (frame.index, frame.name) == (expected.index, expected.name)
        assert frame.seconds == pytest.approx(expected.seconds) and bool((frame.image == expected.image).all())


def test_a_run_of_an_address(segment: Callable[..., int], served: Serve, capsys: Capture) -> None:
    assert segment(served().address, "--max-frames", 3) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name == "street-20cam-online"
    text = (folder / "run.json").read_text()
    report = json.loads(text)
    assert report["status"] == "done" and report["frames"] == 3 and report["reader"] == "ffmpeg"
    assert report["input"].startswith("http://127.0.0.1:") and report["input"].endswith("/dir/street%20cam.mkv")
    assert "secret" not in text + "".join(capsys.readouterr())
    assert len(list(open_video(folder / "overlay.mp4").frames())) == 3


def test_the_end_of_a_stream_ends_the_run(segment: Callable[..., int], served: Serve) -> None:
    assert segment(served().address, "--stride", 10, "--out", "out") == 0
    assert json.loads(Path("out/run.json").read_text())["frames"] == 4


def test_a_stream_that_stops_sending(segment: Callable[..., int], served: Serve, capsys: Capture) -> None:
    began = time.monotonic()
    assert segment(served(0.6, silent=True).address, "--timeout", 1.5, "--out", "out", "--quiet") == 3
    assert time.monotonic() - began < 60
    report = json.loads(Path("out/run.json").read_text())
    assert report["status"] == "partial" and "nothing came for 1.5 s" in report["reason"]
    assert 5 < report["frames"] < 40
    assert len(list(open_video("out/overlay.mp4").frames())) == report["frames"]
    assert error_of(capsys).count("nothing came for 1.5 s") == 1


def test_a_stream_that_never_sends(served: Serve) -> None:
    with pytest.raises(TttvError, match=r"no frame came in 0\.5 s; check the source, or raise --timeout"):
        opened(served(0, silent=True).address, timeout=0.5)


def test_a_connection_that_breaks(served: Serve) -> None:
    frames: list[Frame] = []
    with pytest.raises(PartialInput, match="broke off after"):
        for frame in opened(served(0.6).address).frames():
            frames.append(frame)
    assert 5 < len(frames) < 40


def test_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"://me:secret@127.0.0.1:{unused.getsockname()[1]}/a"
        for scheme in ("http", "rtsp"):
            with pytest.raises(TttvError, match="no frame came .*refused") as error:
                opened(scheme + address)
            assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_an_interrupted_stream_ends_at_once(served: Serve) -> None:
    """Whoever reads ahead waits for the next frame, which does not come."""
    video = opened(served(0.6, silent=True).address, timeout=PATIENCE)
    began = time.monotonic()
    ahead = prefetch(video.frames(), 4, interrupt=video.interrupt)
    next(ahead)
    time.sleep(0.3)
    ahead.close()
    assert time.monotonic() - began < 10
    with pytest.raises(TttvError, match="comes only once and is asked for twice"):
        next(video.frames())


def test_the_first_frames_can_be_looked_at_before(served: Serve) -> None:
    video = opened(served().address)
    for _ in range(2):
        with_few = video.frames()
        assert next(with_few).index == 0
        with_few.close()  # type: ignore[attr-defined]
    assert [frame.index for frame in video.frames()] == list(range(40))


def test_an_address_cannot_open_files(tmp_path: Path, served: Serve) -> None:
    server = served()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4,\nfile://{tmp_path / 'served.mkv'}\n#EXT-X-ENDLIST\n"
    other = Server(playlist.encode(), len(playlist), silent=False)
    try:
        with pytest.raises(TttvError, match="no frame came"):
            opened(other.address.replace(".mkv", ".m3u8"), timeout=5)
    finally:
        other.close()
        server.close()


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Makes standard input a pipe through which this comes."""

    def pipe(content: bytes) -> None:
        out, into = os.pipe()
        monkeypatch.setattr(sys, "stdin", os.fdopen(out))

        def write() -> None:
            with suppress(BrokenPipeError), os.fdopen(into, "wb") as file:
                file.write(content)

        threading.Thread(target=write, daemon=True).start()

    return pipe


def test_a_pipe(segment: Callable[..., int], piped: Callable[[bytes], None], capsys: Capture, tmp_path: Path) -> None:
    piped(make_video(tmp_path / "a.mkv", "-pix_fmt", "yuv420p").read_bytes())
    assert segment("-", "--max-frames", 4) == 0
    report = json.loads(Path("runs/stdin-online/run.json").read_text())
    assert (report["input"], report["frames"], report["status"]) == ("standard input", 4, "done")
    capsys.readouterr()
    piped(b"")
    assert segment("-", "--out", "empty") == 1
    assert "standard input: no frame came" in error_of(capsys)
    assert not Path("empty").exists()


def test_a_terminal_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageError, match="nothing is piped in"):
        live_source("-")


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_what_is_told_about_cameras(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    source = live_source("camera:1")
    assert source is not None and (source.name, source.shown) == ("camera-1", "camera:1")
    expected = {
        "linux": ("-f", "v4l2", "-i", "/dev/video1"),
        "darwin": ("-f", "avfoundation", "-i", "1"),
        "win32": ("-f", "dshow", "-i", "video=1"),
    }
    assert source.arguments == expected[system]


def test_a_camera_that_is_not_there(segment: Callable[..., int], capsys: Capture) -> None:
    assert segment("camera:77") == 1
    assert "camera:77: no frame came (" in error_of(capsys)
    assert segment("camera:") == 2
    assert "say which camera" in error_of(capsys)
    assert not Path("runs").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("name", ["camera:0", "http:x.mp4", "rtsp:x", "http://x.mp4"])
def test_files_of_such_names_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    make_video(tmp_path / "plain.mp4").rename(name)
    assert live_source(name) is None
    assert len(list(open_video(name).frames())) == 10


@pytest.mark.parametrize("name", ["http:x.mp4", "concat:a|b", "file:/etc/passwd", "a.mp4", "-x"])
def test_other_names_are_never_live(name: str) -> None:
    assert live_source(name) is None


@pytest.mark.parametrize("text", ["ftp://localhost/a.mp4", "httsp://localhost/a.mp4", "file:///etc/passwd"])
def test_addresses_that_are_not_read(text: str) -> None:
    with pytest.raises(UsageError, match="is no address that is read; .*known: http, https, rtsp"):
        live_source(text)


def test_schemes_in_capitals() -> None:
    assert live_source("HTTPS://localhost/a.mp4") == live_source("https://localhost/a.mp4")


def test_only_the_command_line_opens_addresses(served: Serve) -> None:
    with pytest.raises(TttvError, match="no such file"):
        open_video(served().address.partition("?")[0])


def test_settings_that_live_input_has_not(served: Serve) -> None:
    with pytest.raises(UsageError, match="fps is for folders"):
        opened(served().address, fps=5.0)
    with pytest.raises(UsageError, match="timeout must be above 0"):
        opened("http://localhost/a", timeout=0.0)
    assert opened(served().address, reader="decord").notes == ("ffmpeg reads, since decord reads files only",)


def speak_rtsp(connection: socket.socket, stream: bytes) -> None:
    """Answers one client and sends it a transport stream, in RTP over the same connection, as slowly as it plays."""
    description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
    with connection, connection.makefile("rb") as requests:
        lines: list[str] = []
        for raw in requests:
            lines.append(raw.decode().strip())
            if lines[-1]:
                continue
            method, number = lines[0].split()[0], next(line for line in lines if line.startswith("CSeq"))
            lines.clear()
            body = description if method == "DESCRIBE" else ""
            headers = [f"RTSP/1.0 200 OK\r\n{number}", "Session: 1", f"Content-Length: {len(body)}"]
            headers += ["Content-Type: application/sdp"] if body else []
            headers += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"] if method == "SETUP" else []
            connection.sendall(("\r\n".join(headers) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                break
        for count, start in enumerate(range(0, len(stream), 7 * 188)):
            packet = struct.pack(">BBHII", 0x80, 33, count & 0xFFFF, count * 1000, 1) + stream[start : start + 7 * 188]
            connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def test_rtsp(tmp_path: Path) -> None:
    stream = make_video(tmp_path / "a.ts", "-c:v", "libx264", "-pix_fmt", "yuv420p", seconds=3).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: speak_rtsp(server.accept()[0], stream), daemon=True).start()
        video = opened(f"rtsp://127.0.0.1:{server.getsockname()[1]}/door", timeout=20.0, max_frames=20)
        frames = list(video.frames())
    assert video.name == "door" and video.size == (48, 64)
    assert [frame.index for frame in frames] == list(range(20))


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    content = make_video(tmp_path / "whole.ts", "-pix_fmt", "yuv420p", seconds=4).read_bytes()
    path = tmp_path / "growing.ts"
    half = len(content) // 2 // 188 * 188
    path.write_bytes(content[:half])
    expected = len(list(open_video(path).frames()))
    frames = open_video(path).frames()
    first = next(frames)
    with path.open("ab") as file:
        file.write(content[half:])
    assert expected <= 1 + len(list(frames)) <= 40 and first.index == 0


def test_nothing_is_left_when_a_stream_is_forgotten(served: Serve) -> None:
    started: list[subprocess.Popen[bytes]] = []
    usual = live.ffmpeg.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live.ffmpeg, "start", lambda *a, **o: started.append(usual(*a, **o)) or started[-1])
        video = opened(served(0.6, silent=True).address)
    assert started[-1].poll() is None
    del video
    assert started[-1].wait(10) != 0


def test_live_input_is_colored_whole(served: Serve) -> None:
    video = opened(served().address, max_frames=2)
    assert picture_area(video, "auto") is None and len(list(video.frames())) == 2


def test_live_input_is_not_resumed_and_is_a_run_of_its_own(
    segment: Callable[..., int], served: Serve, clip: Path, capsys: Capture
) -> None:
    assert segment(served().address, "--resume") == 2
    error = error_of(capsys)
    assert "live input cannot be gone back to" in error and "secret" not in error
    assert segment("camera:0", clip) == 2
    assert "camera:0: live input is a run of its own" in error_of(capsys)
    assert not Path("runs").exists()
