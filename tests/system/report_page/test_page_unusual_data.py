"""The page where data are odd: names that hold markup or are of any script, nothing to show, very many classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.browser import watched, without
from system.report_page.fake_reports import Made, make_report, regions_of
from system.report_page.open_page import IDS, names, opened

if not without():
    from playwright.sync_api import expect

MARKUP = "<img src=x onerror=alert(1)>"
ODD = Made(
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
    with opened(browser, odd) as page:
        expect(page.locator(IDS)).to_have_text(names(range(24), ODD))
        expect(page.locator("#classes tbody td:first-child")).to_contain_text([MARKUP])
        expect(page.locator("#filter-given option")).to_contain_text([MARKUP])
        number = next(n for n in range(24) if any(region[2] == 0 for region in regions_of(ODD, n)[:1]))
        expect(page.locator(".card .caption").nth(number)).to_contain_text(f"given {MARKUP}, ")
        page.locator(".card .frame").nth(number).click()
        expect(page.locator("#large .region").first).to_contain_text(MARKUP)
        expect(page.locator("#large .lines")).to_contain_text("<b>north</b>")
        page.keyboard.press("n")
        expect(page.locator("#large .tag")).to_contain_text(MARKUP)
        made = "img[src='x'], main b, main i, dialog b, dialog i, main script, dialog script, [onerror]"
        expect(page.locator(made)).to_have_count(0)


def test_the_browser_itself_lets_no_markup_and_no_other_script_in(browser: Any, plain: Path) -> None:
    with watched(browser) as told:
        told.page.goto(f"{plain.as_uri()}/index.html")
        expect(told.page.locator(IDS).first).to_be_visible()
        tries: Sequence[tuple[str, str]] = (
            ("document.body.innerHTML = '<b>x</b>'", "TrustedHTML"),
            ("document.createElement('script').src = 'data/other.js'", "TrustedScriptURL"),
            ("trustedTypes.createPolicy('other', {})", "disallowed"),
        )
        for attempt, refusal in tries:
            said = told.page.evaluate(
                f"() => {{ try {{ {attempt}; return 'let in'; }} catch (e) {{ return e.message; }} }}"
            )
            assert re.search(refusal, said), (attempt, said)
        assert told.page.evaluate("fetch('http://127.0.0.1:9/').catch((e) => e.message)") == "Failed to fetch"
        assert not [url for url in told.asked if url.startswith("http")]
        assert any("Content Security Policy" in complaint for complaint in told.complaints)


def test_names_of_any_script_stand_in_their_own_direction(browser: Any, odd: Path) -> None:
    with opened(browser, odd) as page:
        arabic = page.locator("#classes tbody bdi", has_text="مبنى رمادي")
        assert arabic.evaluate("(node) => getComputedStyle(node).unicodeBidi") == "isolate"
        expect(page.locator("#classes tbody")).to_contain_text("(no name)")
        number = next(n for n in range(24) if regions_of(ODD, n) and regions_of(ODD, n)[0][3] == 2)
        title = page.locator(".card").nth(number).locator(".box title").first
        expect(title).to_have_text(re.compile("suggested \u2068مبنى رمادي\u2069, "))


def test_filters_of_odd_names_are_told_in_the_link(browser: Any, odd: Path) -> None:
    with opened(browser, odd) as page:
        page.locator("#filter-col\\.\\<i\\>dt\\<\\/i\\>").select_option("=2026-11-21")
        left = [number for number in range(30) if number % 3 == 1 and number % 7 != 6]
        expect(page.locator(IDS)).to_have_text(names(left, ODD))
        link = page.url.partition("#")[2]
    with opened(browser, odd, f"#{link}") as page:
        expect(page.locator(IDS)).to_have_text(names(left, ODD))


def test_an_empty_report_says_that_it_is(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", Made(rows=0))
    with opened(browser, report, "#sort=evidence&verdict=none") as page:
        expect(page.locator("#listed")).to_have_text("There is no image in this report.")
        expect(page.locator("#scores")).to_contain_text("No image is scored.")
        expect(page.locator("#classes")).to_contain_text("No pixel is flagged.")
        for key in ("ArrowRight", "n", "a", "Enter", "z", "Backspace"):
            page.keyboard.press(key)
        expect(page.locator("#large")).to_be_hidden()
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_a_report_without_classes_and_columns_opens(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", Made(rows=3, quarantined=3, scored=0, names=(), columns=()))
    with opened(browser, report) as page:
        expect(page.locator(".card .rank")).to_have_text(["missing chunk", "bad labels", "missing chunk"])


@pytest.mark.parametrize("planes", ["gpi", "gi", "i", ""])
def test_without_pictures_there_are_the_planes_that_there_are(browser: Any, tmp_path: Path, planes: str) -> None:
    report = make_report(tmp_path / "report", Made(rows=3, pictures=False, planes=planes))
    with opened(browser, report) as page:
        card = page.locator(".card").nth(1)
        expect(card.locator("img")).to_have_count(len(planes))
        expect(page.locator(".card .caption").nth(1)).to_contain_text("px")
        expect(card.locator(".given")).to_be_visible(visible="g" in planes)
        expect(card.locator(".nothing")).to_be_visible(visible=planes == "")
        if planes == "gpi":  # what is switched covers the plane that stands in for the picture
            page.keyboard.press("3")
            expect(card.locator(".predicted")).to_be_visible()
            expect(card.locator(".given")).to_be_hidden()


def test_quarantined_images_say_why_and_what_of_them_cannot_be_shown(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#page=3&image=57") as page:
        expect(page.locator(".card.lost .rank")).to_have_text(
            ["bad labels", "missing chunk", "bad labels", "missing chunk", "bad labels"]
        )
        expect(page.locator(".card.lost .caption").first).to_contain_text("not all can be shown")
        lines = page.locator("#large .lines")
        expect(lines).to_contain_text("label 77 at (3, 57)")
        expect(lines).to_contain_text("chunk (3, 0) of predictions does not exist")
        expect(page.locator("#large .scores td.number")).to_have_text(["–", "–", "–"])


@pytest.mark.parametrize("classes", [150, 300])
def test_very_many_classes_have_their_places(browser: Any, tmp_path: Path, classes: int) -> None:
    made = Made(rows=6, names=tuple(f"class {number}" for number in range(classes)))
    with opened(browser, make_report(tmp_path / "report", made)) as page:
        expect(page.locator("#classes tbody tr")).to_have_count(classes)
        expect(page.locator(".grid .row")).to_have_count(20)
        page.get_by_role("button", name=re.compile(r"^All \d+ classes$")).click()
        rows = page.locator(".grid .row").count()
        assert rows > 100
        told = page.evaluate("masksift.data.run.pairs.length")
        expect(page.locator(".grid .cell")).to_have_count(told)
        card = page.locator(".card").nth(2)
        page.keyboard.press("2")
        expect(card.locator(".given img")).to_be_visible()
        page.wait_for_function("() => [...document.images].every((one) => !one.complete || one.naturalWidth > 0)")
        page.locator("#filter-suggested").select_option("4")
        expect(page.locator("#listed")).to_contain_text("of 6 images")


def light(page: Any, selector: str, what: str) -> float:
    """Relative luminance of a colour of an element (WCAG 2)."""
    told = page.locator(selector).first.evaluate(f"(node) => getComputedStyle(node).{what}")
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", told)[:3])
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_both_readable(browser: Any, plain: Path, scheme: str) -> None:
    with opened(browser, plain, color_scheme=scheme) as page:
        expect(page.locator(".card").nth(9).locator(".of-regions")).to_be_attached()
        for key in ("a", "ArrowRight", "r", "ArrowRight", "u"):
            page.keyboard.press(key)
        expect(page.locator("#reviewed")).to_contain_text("3 images reviewed")
        grounds = light(page, "body", "backgroundColor"), light(page, ".panel", "backgroundColor")
        assert (max(grounds) < 0.1) == (scheme == "dark")
        texts = ("body", "p.faint", "button.link", "#reviewed .accept", "#reviewed .reject", "#reviewed .unsure")
        for text, ground in ((light(page, text, "color"), ground) for text in texts for ground in grounds):
            assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5
        expect(page.locator(".card .verdict[aria-pressed=true] .word")).to_have_text([" accept", " reject", " unsure"])
        words = [f".card .verdict.{word}[aria-pressed=true]" for word in ("accept", "reject", "unsure")]
        for word in words:  # what is written on it has the button's colour
            assert light(page, f"{word} .word", "color") == light(page, word, "color")
        for pressed in ("#images .joined button[aria-pressed=true]", *words):
            pair = sorted((light(page, pressed, "color"), light(page, pressed, "backgroundColor")))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, pressed


def test_the_switch_goes_round_and_is_kept(browser: Any, plain: Path) -> None:
    with opened(browser, plain, color_scheme="light") as page:
        expect(page.locator(IDS).first).to_be_visible()
        assert light(page, "body", "backgroundColor") > 0.5
        page.locator("#theme").click()
        assert light(page, "body", "backgroundColor") < 0.1
        page.reload()
        expect(page.locator("#theme")).to_have_text("Theme: dark")
        assert light(page, "body", "backgroundColor") < 0.1
        page.locator("#theme").click()
        assert light(page, "body", "backgroundColor") > 0.5


def test_nothing_reaches_beyond_the_window(browser: Any, odd: Path) -> None:
    with opened(browser, odd) as page:
        for width in (360, 768, 1280, 2560):
            page.set_viewport_size({"width": width, "height": 740})
            expect(page.locator(".card .caption").nth(9)).not_to_have_text("…")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.locator(".card .frame").nth(9).click()
            expect(page.locator("#large .region").first).to_be_visible()
            assert page.evaluate("document.getElementById('large').scrollWidth") == width
            close = page.locator("#large").get_by_role("button", name="Close")
            assert 0 <= close.bounding_box()["x"] <= width - close.bounding_box()["width"]
            close.click()


def test_everything_that_can_be_pressed_or_filled_in_has_a_name_and_shows_its_focus(browser: Any, plain: Path) -> None:
    unnamed = """() => [...document.querySelectorAll('button, input, select')].filter((node) =>
        !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).map((node) => node.outerHTML)"""
    with opened(browser, plain, "#image=3") as page:
        expect(page.locator("#large .region")).to_have_count(3)
        assert page.evaluate(unnamed) == []
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        assert page.evaluate(outline) == "solid"
