"""The bundle in headless Chromium, through the example page's own module."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "examples" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
SECONDS = 240.0


@pytest.fixture(scope="session")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def served(roots: dict[str, list[Path]], answers: Queue[Any]) -> Iterator[str]:
    """A server of these folders and files, the longest prefix first; what is sent to it lands in `answers`."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            path = path.partition("?")[0]
            prefix = next((each for each in sorted(roots, key=len, reverse=True) if path.startswith(each)), "/nothing")
            places = [root / path.removeprefix(prefix) if root.is_dir() else root for root in roots.get(prefix, [])]
            return str(next((place for place in places if place.exists()), HERE / "nothing"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            answers.put(json.loads(body))

        def log_message(self, *args: object) -> None:
            """Be quiet."""

    Handler.extensions_map = Handler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def browsing(browser: str, address: str, profile: Path) -> Iterator[None]:
    """A page in a browser of its own."""
    command = [browser, *QUIET.split(), "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}"]
    process = subprocess.Popen([*command, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def site(node_modules: Path, bundle: Path, texts: list[str], tmp_path: Path) -> dict[str, list[Path]]:
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    library = [node_modules / "@huggingface" / "transformers" / "dist", node_modules / "onnxruntime-web" / "dist"]
    return {
        "/page/lib/": library,
        "/page/": [PAGE],
        "/bundles/student/": [bundle],
        "/texts.json": [tmp_path / "texts.json"],
        "/test.html": [HERE / "page.html"],
    }


def test_a_browser_gives_the_same_labels(browser: str, site: dict[str, list[Path]], reference: Any, tmp_path: Path):
    answers: Queue[Any] = Queue()
    with served(site, answers) as address, browsing(browser, f"{address}/test.html", tmp_path / "profile"):
        found = answers.get(timeout=SECONDS)
    assert "error" not in found, found["error"]
    reference.check(found["fp32"], "fp32")
    reference.check(found["int8"], "int8")
    assert found["int8 from files"] == found["int8"]
