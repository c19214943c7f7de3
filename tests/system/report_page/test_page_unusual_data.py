"""The report page with unusual data: markup in names, other scripts, empty reports, many classes, themes."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.browser import missing_browser_reason, record_page
from system.report_page.fake_reports import ReportSpec, make_regions, make_report
from system.report_page.open_page import IDS, first_page_ids, open_report

if not missing_browser_reason():
    from playwright.sync_api import expect

MARKUP = "<img src=x onerror=alert(1)>"
ODD = ReportSpec(
    rows=30,
    quarantined=3,
    names=(MARKUP, "道路", "مبنى رمادي", "рельсы", "", "a'\"&amp; b\u2028c"),
    sources=("<b>north</b>",),
    ids=("</script><script>alert(2)</script>", "שלום", "x" * 300, "${alert(3)}"),
    columns=("<i>dt</i>", "__proto__x"),
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("odd") / "a folder # with %20 signs", ODD)


def test_markup_in_names_stays_text(browser: Any, odd: Path) -> None:
    with open_report(browser, odd) as page:
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(24), ODD))
        expect(page.locator("#classes tbody td:first-child")).to_contain_text([MARKUP])
        expect(page.locator("#filter-given option")).to_contain_text([MARKUP])
        number = next(n for n in range(24) if any(region[2] == 0 for region in make_regions(ODD, n)[:1]))
        expect(page.locator(".card .caption").nth(number)).to_contain_text(f"given {MARKUP}, ")
        page.locator(".card .frame").nth(number).click()
        expect(page.locator("#lightbox .region").first).to_contain_text(MARKUP)
        expect(page.locator("#lightbox .lines")).to_contain_text("<b>north</b>")
        page.keyboard.press("n")
        expect(page.locator("#lightbox .tag")).to_contain_text(MARKUP)
        spec = "img[src='x'], main b, main i, dialog b, dialog i, main script, dialog script, [onerror]"
        expect(page.locator(spec)).to_have_count(0)


def test_browser_blocks_markup_and_foreign_scripts(browser: Any, plain: Path) -> None:
    with record_page(browser) as recorded:
        recorded.page.goto(f"{plain.as_uri()}/index.html")
        expect(recorded.page.locator(IDS).first).to_be_visible()
        attempts: Sequence[tuple[str, str]] = (
            ("document.body.innerHTML = '<b>x</b>'", "TrustedHTML"),
            ("document.createElement('script').src = 'data/other.js'", "TrustedScriptURL"),
            ("trustedTypes.createPolicy('other', {})", "disallowed"),
        )
        for attempt, refusal in attempts:
            message = recorded.page.evaluate(
                f"() => {{ try {{ {attempt}; return 'allowed'; }} catch (e) {{ return e.message; }} }}"
            )
            assert re.search(refusal, message), (attempt, message)
        assert recorded.page.evaluate("fetch('http://127.0.0.1:9/').catch((e) => e.message)") == "Failed to fetch"
        assert not [url for url in recorded.requests if url.startswith("http")]
        assert any("Content Security Policy" in message for message in recorded.messages)


def test_names_keep_their_writing_direction(browser: Any, odd: Path) -> None:
    with open_report(browser, odd) as page:
        arabic = page.locator("#classes tbody bdi", has_text="مبنى رمادي")
        assert arabic.evaluate("(node) => getComputedStyle(node).unicodeBidi") == "isolate"
        expect(page.locator("#classes tbody")).to_contain_text("(no name)")
        number = next(n for n in range(24) if make_regions(ODD, n) and make_regions(ODD, n)[0][3] == 2)
        title = page.locator(".card").nth(number).locator(".box title").first
        expect(title).to_have_text(re.compile("suggested \u2068مبنى رمادي\u2069, "))


def test_link_encodes_filters_of_unusual_names(browser: Any, odd: Path) -> None:
    with open_report(browser, odd) as page:
        page.locator("#filter-col\\.\\<i\\>dt\\<\\/i\\>").select_option("=2026-11-21")
        matching = [number for number in range(30) if number % 3 == 1 and number % 7 != 6]
        expect(page.locator(IDS)).to_have_text(first_page_ids(matching, ODD))
        link = page.url.partition("#")[2]
    with open_report(browser, odd, f"#{link}") as page:
        expect(page.locator(IDS)).to_have_text(first_page_ids(matching, ODD))


def test_empty_report_says_so(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=0))
    with open_report(browser, report, "#sort=region&verdict=none") as page:
        expect(page.locator("#listed")).to_have_text("This report has no images.")
        expect(page.locator("#scores")).to_contain_text("No image is scored.")
        expect(page.locator("#classes")).to_contain_text("No pixel is flagged.")
        for key in ("ArrowRight", "n", "a", "Enter", "z", "Backspace"):
            page.keyboard.press(key)
        expect(page.locator("#lightbox")).to_be_hidden()
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_report_without_classes_and_columns_opens(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=3, quarantined=3, scored=0, names=(), columns=()))
    with open_report(browser, report) as page:
        expect(page.locator(".card .rank")).to_have_text(["missing chunk", "bad labels", "missing chunk"])


@pytest.mark.parametrize("planes", ["gpi", "gi", "i", ""])
def test_report_without_images_shows_the_planes(browser: Any, tmp_path: Path, planes: str) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=3, pictures=False, planes=planes))
    with open_report(browser, report) as page:
        card = page.locator(".card").nth(1)
        expect(card.locator("img")).to_have_count(len(planes))
        expect(page.locator(".card .caption").nth(1)).to_contain_text("px")
        expect(card.locator(".given")).to_be_visible(visible="g" in planes)
        expect(card.locator(".nothing")).to_be_visible(visible=planes == "")
        if planes == "gpi":  # the selected layer covers the fallback plane
            page.keyboard.press("3")
            expect(card.locator(".predicted")).to_be_visible()
            expect(card.locator(".given")).to_be_hidden()


def test_images_that_share_files_look_like_images_in_separate_files(browser: Any, tmp_path: Path) -> None:
    shown = []
    for sheet in (1, 4):
        report = make_report(tmp_path / f"sheets-of-{sheet}", ReportSpec(rows=10, sheet=sheet))
        assert len(list((report / "pictures").iterdir())) == 2 * -(-10 // sheet)
        with open_report(browser, report) as page:
            page.locator("#gallery[data-complete]").wait_for()
            page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
            page.keyboard.press("o")
            page.locator(".decision").first.focus()
            for number, key in itertools.product((0, 2, 9), "123"):
                page.keyboard.press(key)
                data = page.locator(".card .image-overlay").nth(number).screenshot()
                shown.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16))
    separate, shared = shown[:9], shown[9:]
    for one, other in zip(separate, shared, strict=True):
        assert np.abs(one - other).mean() < 4
        for edge in (1, -2):  # the outermost rows of screen pixels are partly outside of the image
            assert np.abs(one[edge] - other[edge]).mean() < 6, "no neighbor in the file shows"
    assert np.abs(separate[0] - separate[6][: len(separate[0])]).mean() > 8, "images differ"


def test_quarantined_image_shows_reason_and_warnings(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#page=3&image=57") as page:
        expect(page.locator(".card.quarantined .rank")).to_have_text(
            ["bad labels", "missing chunk", "bad labels", "missing chunk", "bad labels"]
        )
        expect(page.locator(".card.quarantined .caption").first).to_contain_text("some data cannot be shown")
        lines = page.locator("#lightbox .lines")
        expect(lines).to_contain_text("label 77 at (3, 57)")
        expect(lines).to_contain_text("chunk (3, 0) of predictions does not exist")
        expect(page.locator("#lightbox .scores td.number")).to_have_text(["–", "–", "–"])


@pytest.mark.parametrize("classes", [150, 300])
def test_many_classes_are_shown(browser: Any, tmp_path: Path, classes: int) -> None:
    spec = ReportSpec(rows=6, names=tuple(f"class {number}" for number in range(classes)))
    with open_report(browser, make_report(tmp_path / "report", spec)) as page:
        expect(page.locator("#classes tbody tr")).to_have_count(classes)
        expect(page.locator(".grid .row")).to_have_count(20)
        page.get_by_role("button", name=re.compile(r"^All \d+ classes$")).click()
        rows = page.locator(".grid .row").count()
        assert rows > 100
        pairs = page.evaluate("masksift.data.run.pairs.length")
        expect(page.locator(".grid .cell")).to_have_count(pairs)
        card = page.locator(".card").nth(2)
        page.keyboard.press("2")
        expect(card.locator(".given img")).to_be_visible()
        page.wait_for_function("() => [...document.images].every((image) => !image.complete || image.naturalWidth > 0)")
        page.locator("#filter-suggested").select_option("4")
        expect(page.locator("#listed")).to_contain_text("of 6 images")


def luminance(page: Any, selector: str, property_: str) -> float:
    """Relative luminance (WCAG 2) of a color of an element."""
    color = page.locator(selector).first.evaluate(f"(node) => getComputedStyle(node).{property_}")
    red, green, blue = (int(channel) / 255 for channel in re.findall(r"\d+", color)[:3])
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in (red, green, blue)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast_is_sufficient_in_both_themes(browser: Any, plain: Path, scheme: str) -> None:
    with open_report(browser, plain, color_scheme=scheme) as page:
        expect(page.locator(".card").nth(9).locator(".region-decisions")).to_be_attached()
        for key in ("a", "ArrowRight", "r", "ArrowRight", "u"):
            page.keyboard.press(key)
        expect(page.locator("#reviewed")).to_contain_text("3 images reviewed")
        backgrounds = luminance(page, "body", "backgroundColor"), luminance(page, ".panel", "backgroundColor")
        assert (max(backgrounds) < 0.1) == (scheme == "dark")
        texts = ("body", "p.faint", "button.link", "#reviewed .accept", "#reviewed .reject", "#reviewed .unsure")
        for text, background in (
            (luminance(page, text, "color"), background) for text in texts for background in backgrounds
        ):
            assert (max(text, background) + 0.05) / (min(text, background) + 0.05) >= 4.5
        expect(page.locator(".card .decision[aria-pressed=true] .word")).to_have_text([" accept", " reject", " unsure"])
        selectors = [f".card .decision.{word}[aria-pressed=true]" for word in ("accept", "reject", "unsure")]
        for word in selectors:  # the text has the color of its button
            assert luminance(page, f"{word} .word", "color") == luminance(page, word, "color")
        for pressed in ("#images .joined button[aria-pressed=true]", *selectors):
            pair = sorted((luminance(page, pressed, "color"), luminance(page, pressed, "backgroundColor")))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, pressed


def test_theme_button_cycles_and_is_remembered(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, color_scheme="light") as page:
        expect(page.locator(IDS).first).to_be_visible()
        assert luminance(page, "body", "backgroundColor") > 0.5
        page.locator("#theme").click()
        assert luminance(page, "body", "backgroundColor") < 0.1
        page.reload()
        expect(page.locator("#theme")).to_have_text("Theme: dark")
        assert luminance(page, "body", "backgroundColor") < 0.1
        page.locator("#theme").click()
        assert luminance(page, "body", "backgroundColor") > 0.5


def test_page_never_scrolls_sideways(browser: Any, odd: Path) -> None:
    with open_report(browser, odd) as page:
        for width in (360, 768, 1280, 2560):
            page.set_viewport_size({"width": width, "height": 740})
            expect(page.locator(".card .caption").nth(9)).not_to_have_text("…")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.locator(".card .frame").nth(9).click()
            expect(page.locator("#lightbox .region").first).to_be_visible()
            assert page.evaluate("document.getElementById('lightbox').scrollWidth") == width
            close = page.locator("#lightbox").get_by_role("button", name="Close")
            assert 0 <= close.bounding_box()["x"] <= width - close.bounding_box()["width"]
            close.click()


def test_controls_have_names_and_a_visible_focus(browser: Any, plain: Path) -> None:
    unnamed = """() => [...document.querySelectorAll('button, input, select')].filter((node) =>
        !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).map((node) => node.outerHTML)"""
    with open_report(browser, plain, "#image=3") as page:
        expect(page.locator("#lightbox .region")).to_have_count(3)
        assert page.evaluate(unnamed) == []
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        assert page.evaluate(outline) == "solid"
