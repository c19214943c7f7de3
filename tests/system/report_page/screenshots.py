"""Pictures of a report's page for the documentation:

    python tests/system/report_page/screenshots.py RUN_OR_REPORT_FOLDER OUT.png

writes OUT-light.png (the head of the page), OUT-dark.png (its images) and OUT-large.png (its first image at large, with
the region of most evidence chosen), each with a palette of its own, so that they are small.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.browser import chromium, watched, without

SIZE = {"width": 1280, "height": 860}


def main(words: list[str]) -> int:
    if len(words) != 2:
        sys.stderr.write("usage: screenshots.py RUN_OR_REPORT_FOLDER OUT.png\n")
        return 2
    if why := without():
        sys.stderr.write(f"{why}\n")
        return 1
    folder, out = (Path(word).absolute() for word in words)
    page = next(place for place in (folder / "report" / "index.html", folder / "index.html") if place.exists())
    with chromium() as browser:
        for name, scheme, address in (("light", "light", ""), ("dark", "dark", ""), ("large", "light", "#image=0")):
            with watched(browser, viewport=SIZE, color_scheme=scheme, reduced_motion="reduce") as told:
                told.page.goto(f"{page.as_uri()}{address}")
                told.page.locator("#gallery[data-whole]").wait_for()
                _arranged(told.page, name)
                told.page.evaluate("Promise.all([...document.images].map((one) => one.decode()))")
                shot = Image.open(io.BytesIO(told.page.screenshot())).convert("RGB")
                shot.quantize(256).save(out.with_name(f"{out.stem}-{name}.png"), optimize=True)
    return 0


def _arranged(page: Any, name: str) -> None:
    """What is to be seen comes into the window."""
    if name == "dark":
        page.evaluate("masksift.toSection('images')")
    elif name == "large" and page.locator("#large .region").count() > 0:
        page.keyboard.press("n")
        page.locator("#large .tag").wait_for()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
