"""`tttv report --watch`: serves the page to this machine's browsers, and renews it while a run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ttt_cli.evaluate.journal import CELLS
from ttt_cli.report import evaluation, run_view
from ttt_cli.report.collect import Evaluation, read
from ttt_cli.report.evaluation import EvaluationView
from ttt_cli.report.gallery import MOST_BYTES, Gallery
from ttt_cli.report.page import build, render
from ttt_cli.report.run_view import RunView
from ttt_cli.run.folder import RunFolder

HOST = "127.0.0.1"
PAUSE_SECONDS = 1.5
"""Between two looks at the folders, at least."""
REST = 4
"""Times as long as a look took, the run has the processor for itself until the next one."""
LAST_SECONDS = 8.0
"""How long the last page waits to be fetched."""
END = "end"
"""The version of the last page, as page.js knows it."""


@dataclass
class Watched:
    """What the server answers with."""

    page: bytes = b""
    version: str = ""
    """Another one for every page."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """By address."""
    last_was_sent: threading.Event = field(default_factory=threading.Event)
    """Set when the last page has been fetched."""

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Content type and content of an address; None if there is none."""
        if path == "/":
            if self.version == END:
                self.last_was_sent.set()
            return "text/html; charset=utf-8", self.page
        if path == "/version":
            return "text/plain", self.version.encode()
        picture = self.pictures.get(path)
        return None if picture is None else ("image/png" if picture.startswith(b"\x89PNG") else "image/jpeg", picture)


def watch(folders: Sequence[Path], on_wait: Callable[[Path], None], on_start: Callable[[str], None]) -> str:
    """Serves the page about all folders until no run in them goes on, and returns it as it is then.

    on_wait: called with a folder that has no run yet, which is waited for. on_start: called with the page's address.
    Raises TttvError as `build` does.
    """
    _wait_for_runs(folders, on_wait)
    watched, galleries = Watched(), [Gallery() for _ in folders]
    with _served(watched) as address:
        while True:
            began = time.monotonic()
            views = [_view(folder, gallery, len(folders)) for folder, gallery in zip(folders, galleries, strict=True)]
            runs = [view.run for view in views if isinstance(view, RunView)]
            is_first = not watched.page
            _show(watched, views, "-".join(f"{len(run.frames)}-{run.report['status']}" for run in runs))
            if is_first:
                on_start(address)
            if not any(run.is_going_on for run in runs):
                break
            time.sleep(max(PAUSE_SECONDS, REST * (time.monotonic() - began)))
        page = build(folders)
        watched.page, watched.version = page.encode(), END
        watched.last_was_sent.wait(LAST_SECONDS)
    return page


def _wait_for_runs(folders: Sequence[Path], on_wait: Callable[[Path], None]) -> None:
    for folder in folders:
        if not RunFolder(folder).run.is_file() and not (folder / CELLS).is_file():
            on_wait(folder)
            while not RunFolder(folder).run.is_file():
                time.sleep(PAUSE_SECONDS / 3)


def _view(folder: Path, gallery: Gallery, folders: int) -> EvaluationView | RunView:
    source = read(folder)
    if isinstance(source, Evaluation):
        return evaluation.view_of(source)
    return run_view.view_of(source, gallery, MOST_BYTES // folders, reconstruct=False)


def _show(watched: Watched, views: Sequence[EvaluationView | RunView], version: str) -> None:
    """Renews what the server has, if it is another version."""
    if version == watched.version:
        return
    pictures: dict[str, bytes] = {}

    def address(view: str, pane: str, position: int, picture: bytes) -> str:
        place = f"/picture/{view}/{pane}/{position}"
        pictures[place] = picture
        return place

    page = render(views, address, version).encode()
    watched.pictures.update(pictures)  # Those of the last page may still be asked for.
    watched.page, watched.version = page, version


@contextmanager
def _served(watched: Watched) -> Iterator[str]:
    """Answers requests from this machine meanwhile; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site's script may have its own name lead to this address, but not change the name it asks for.
            is_ours = self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}")
            answer = watched.answer(self.path) if is_ours else None
            kind, content = answer or ("text/plain", b"not here")
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="report", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{port}/"
        finally:
            server.shutdown()
            thread.join()
