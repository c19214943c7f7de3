"""Take screenshots of a report page for the documentation.

    python docs/pictures/screenshots.py RUN_OR_REPORT_DIRECTORY OUT.png

writes OUT-light.png (the top of the page), OUT-dark.png (its images) and OUT-lightbox.png (the first image in the
lightbox with its worst region selected). Each file has a palette, which keeps it small.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.browser import launch_chromium, missing_browser_reason, record_page

VIEWPORT = {"width": 1280, "height": 860}
SHOTS = (("light", "light", ""), ("dark", "dark", ""), ("lightbox", "light", "#image=0"))
"""Name, color scheme and address of each screenshot."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: screenshots.py RUN_OR_REPORT_DIRECTORY OUT.png\n")
        return 2
    if reason := missing_browser_reason():
        sys.stderr.write(f"{reason}\n")
        return 1
    directory, out = (Path(argument).absolute() for argument in arguments)
    candidates = (directory / "report" / "index.html", directory / "index.html")
    page = next(candidate for candidate in candidates if candidate.exists())
    with launch_chromium() as browser:
        for name, scheme, address in SHOTS:
            with record_page(browser, viewport=VIEWPORT, color_scheme=scheme, reduced_motion="reduce") as recorded:
                recorded.page.goto(f"{page.as_uri()}{address}")
                recorded.page.locator("#gallery[data-complete]").wait_for()
                _arrange(recorded.page, name)
                recorded.page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
                image = Image.open(io.BytesIO(recorded.page.screenshot())).convert("RGB")
                image.quantize(256).save(out.with_name(f"{out.stem}-{name}.png"), optimize=True)
    return 0


def _arrange(page: Any, name: str) -> None:
    """Scroll to the subject of a screenshot, or select it."""
    if name == "dark":
        page.evaluate("masksift.toSection('images')")
    elif name == "lightbox" and page.locator("#lightbox .region").count() > 0:
        page.keyboard.press("n")
        page.locator("#lightbox .tag").wait_for()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
