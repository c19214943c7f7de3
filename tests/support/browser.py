"""A real Chromium, where there is one, and pages that are watched: what they ask for, what they complain of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

__all__ = ["BROWSER", "Watched", "chromium", "served", "watched", "without"]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def without() -> str:
    """Why there is no browser; empty where there is one."""
    if find_spec("playwright") is None:
        return "playwright is not installed (of the dev extra)"
    return "" if BROWSER else "there is no Chromium (Debian's package `chromium`)"


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser without a window; ``flags``: more of its command line."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=[*FLAGS, *flags])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page; ``asked``: the addresses of all requests; ``complaints``: errors, warnings and dialogs."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def watched(browser: Any, script: str = "", **context: Any) -> Iterator[Watched]:
    """A page of a browser that has seen nothing before. ``script``: what runs in it before all else."""
    own = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    if script:
        own.add_init_script(script)
    told = Watched(own.new_page())
    told.page.on("request", lambda request: told.asked.append(request.url))
    told.page.on("console", lambda said: told.complaints.append(said.text) if said.type != "log" else None)
    told.page.on("pageerror", lambda error: told.complaints.append(str(error)))
    told.page.on("dialog", lambda dialog: (told.complaints.append(dialog.message), dialog.dismiss()))
    yield told
    own.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on loopback, by the plainest server there is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
