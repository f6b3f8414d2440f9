"""Notebooks in a real browser: JupyterLab or Voila on a free port, Debian's Chromium without a screen."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
TOKEN = "reidkit"
READY = """() => {
  const now = window.jupyterapp && jupyterapp.shell.currentWidget && jupyterapp.shell.currentWidget.sessionContext;
  return now && now.isReady && now.session && now.session.kernel.connectionStatus === 'connected'
    && now.session.kernel.status === 'idle';
}"""
# the toolbar's mark of an idle kernel comes too early: running then opens a dialog, so the session itself is asked


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of these code cells."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


def environment(home: Path) -> dict[str, str]:
    """Settings of nobody: every folder of Jupyter's inside a temporary one, and no news from the network."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    folders = {name: home / name.lower() for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    settings = folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, **{name: str(folder) for name, folder in folders.items()}, "PYTHONPATH": path}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], address: str, home: Path, variables: dict[str, str] | None = None) -> Iterator[None]:
    """A server until the end of the block; it and its kernels go with it."""
    log = home / "server.log"
    with log.open("wb") as out:
        own = environment(home) | (variables or {})
        server = subprocess.Popen(
            command, cwd=home, env=own, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            for _ in range(900):
                assert server.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(address, timeout=2)
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                raise AssertionError(f"no answer from {address}: {log.read_text()}")
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@contextmanager
def jupyterlab(home: Path) -> Iterator[str]:
    """JupyterLab on a folder; yields its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}", "--expose-app-in-browser",
    ]  # fmt: skip
    with serving(command, f"{address}/api", home):
        yield address


@contextmanager
def voila(command: list[str], variables: dict[str, str], home: Path) -> Iterator[str]:
    """What `widgets.page.page` says how to serve; yields its address."""
    port = free_port()
    own = [*command, "--no-browser", f"--port={port}"]
    with serving(own, f"http://127.0.0.1:{port}/static/", home, variables):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


def opened(chromium: Any, width: int, height: int = 1400) -> tuple[Any, list[str]]:
    """A page, and the list of errors that its console will have shown."""
    page = chromium.new_page(viewport={"width": width, "height": height})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page, errors


def outside(page: Any) -> list[str]:
    """From now on nothing outside this machine is asked: what would have been gets an empty answer and is listed."""
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=200, body="")

    page.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), refuse)
    return asked


def run_all(page: Any, address: str, file: Path) -> None:
    """Open a notebook in JupyterLab and run its cells."""
    page.goto(f"{address}/doc/tree/{file.name}?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".reidkit-status", timeout=120_000)


def stop(page: Any) -> None:
    """Close a notebook of JupyterLab with its kernel, which would keep its gigabyte as long as the server lives."""
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
