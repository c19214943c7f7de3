"""A headless Chromium and pages that record their requests and messages."""

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

__all__ = ["RecordedPage", "launch_chromium", "missing_browser_reason", "record_page", "serve_directory"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing_browser_reason() -> str:
    """Say why no browser can be started; empty if one can."""
    if find_spec("playwright") is None:
        return "playwright is not installed (dev extra)"
    return "" if CHROMIUM else "Chromium is not installed (Debian package `chromium`)"


@contextmanager
def launch_chromium(*flags: str) -> Iterator[Any]:
    """Start a headless browser, with additional command-line flags."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        yield browser
        browser.close()


@dataclass
class RecordedPage:
    """A page with the addresses of its requests and its messages: console output, errors and dialogs."""

    page: Any
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@contextmanager
def record_page(browser: Any, script: str = "", **context: Any) -> Iterator[RecordedPage]:
    """Open a page in a new browser context; `script` runs before anything else in it."""
    browser_context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    if script:
        browser_context.add_init_script(script)
    recorded = RecordedPage(browser_context.new_page())
    messages = recorded.messages
    recorded.page.on("request", lambda request: recorded.requests.append(request.url))
    recorded.page.on("console", lambda line: messages.append(line.text) if line.type != "log" else None)
    recorded.page.on("pageerror", lambda error: messages.append(str(error)))
    recorded.page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    yield recorded
    browser_context.close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_directory(directory: Path) -> Iterator[str]:
    """Serve a directory on loopback; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(directory))) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
