"""JupyterLab for tests, started as `make lab` starts it, and driven in a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_course.hub.ports import free_port

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
TOKEN = "a-token-for-tests"
SETTINGS = {
    # All cells are in the page, so that a test finds those far below.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}


def options_of_make_lab() -> list[str]:
    """What `make lab` hands to JupyterLab, but for the folder and for root's flag."""
    lines = MAKEFILE.read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if "jupyter lab " in line)
    return [o for o in re.findall(r"--[\w.]+=\S+", line) if "notebook-dir" not in o]


@contextmanager
def jupyterlab(
    folder: Path, home: Path, *, theme: str = "JupyterLab Light"
) -> Iterator[str]:
    """JupyterLab on `folder` with a home of its own; yields its address."""
    settings = home / "settings"
    stored = {
        **SETTINGS,
        "apputils-extension/themes": f'{{"theme": "{theme}"}}',
    }
    for name, text in stored.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    port = free_port()
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={folder}"]
    command += [*options_of_make_lab(), "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_for_port(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_port(
    port: int, server: subprocess.Popen[Any], seconds: float = 90
) -> None:
    """Wait until the server listens; fail at once if it ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"nothing listens on port {port} after {seconds} s")


class Notebook:
    """A notebook that is open in JupyterLab, as a student handles it."""

    def __init__(
        self, page: Any, address: str, path: str, *, token: str = TOKEN
    ) -> None:
        """Open `path` and wait for its kernel."""
        self.page = page
        page.goto(f"{address}/lab/tree/{path}" + (f"?token={token}" if token else ""))
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        self.wait_until_idle()

    def wait_until_idle(self, seconds: float = 120) -> None:
        """Wait until the kernel is idle and no cell waits for it."""
        self.page.wait_for_function(
            """() => {
                const status = document.querySelector('#jp-main-statusbar');
                const waiting = [...document.querySelectorAll('.jp-InputPrompt')]
                    .some(p => p.textContent.includes('[*]'));
                return status && /\\| Idle/.test(status.textContent) && !waiting;
            }""",
            timeout=seconds * 1000,
        )

    def menu(self, *names: str) -> None:
        """Choose an entry of the menu bar."""
        page = self.page
        page.locator(".lm-MenuBar-itemLabel", has_text=names[0]).first.click()
        for name in names[1:]:
            page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}")).click()

    def run_all(self, seconds: float = 180) -> None:
        """Run > Run All Cells."""
        self.menu("Run", "Run All Cells")
        self.page.wait_for_timeout(500)
        self.wait_until_idle(seconds)

    def cell(self, text: str) -> Any:
        """The code cell whose source begins with this text."""
        cells = self.page.locator(".jp-CodeCell")
        sources = self.page.eval_on_selector_all(
            ".jp-CodeCell",
            "cells => cells.map(c => c.querySelector('.cm-content')?.innerText ?? '')",
        )
        found = [i for i, s in enumerate(sources) if s.strip().startswith(text)]
        assert found, f"no cell begins with {text!r}"
        return cells.nth(found[0])

    def write(self, cell: Any, code: str) -> None:
        """Replace a cell's source and run it."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        self.run(cell)

    def run(self, cell: Any) -> None:
        """Run one cell with Control-Enter."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_timeout(300)
        self.wait_until_idle()

    def output(self, cell: Any) -> str:
        """What a cell shows below it, as text."""
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())
