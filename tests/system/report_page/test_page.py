"""The page in a real Chromium: what it shows of a run, and which images, from a disk and from a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.browser import served, watched, without
from system.report_page.fake_reports import Made, make_report, name_of, regions_of, row_of, scores_of
from system.report_page.open_page import IDS, LONG, PLAIN, names, opened

if not without():
    from playwright.sync_api import expect


def rows(passes: Callable[[dict[str, Any]], bool]) -> list[int]:
    """The rows of the plain report that pass."""
    return [number for number in range(PLAIN.rows) if passes(row_of(PLAIN, number))]


def has(given: Any, suggested: int) -> Callable[[dict[str, Any]], bool]:
    return lambda row: [given, suggested] in row["pairs"]


@pytest.mark.parametrize("way", ["disk", "server"])
def test_it_opens_and_asks_for_nothing_but_its_own_files(browser: Any, plain: Path, way: str) -> None:
    with served(plain) as url, watched(browser) as told:
        place = plain.as_uri() if way == "disk" else url
        told.page.goto(f"{place}/index.html")
        expect(told.page.locator(IDS)).to_have_text(names(range(24)))
        expect(told.page.locator("#listed")).to_have_text("60 images: those that softmin ranks first of 1,234")
        expect(told.page.locator("#filter-col\\.dt option")).to_have_count(5)
        told.page.wait_for_function("() => [...document.images].every((one) => one.complete && one.naturalWidth > 0)")
        assert told.complaints == []
        assert {url for url in told.asked if not url.startswith(f"{place}/")} == set()
        pictures = {url.rpartition("/")[2] for url in told.asked if "/pictures/" in url}
        assert pictures == {f"{number:08d}.{ending}" for number in range(24) for ending in ("jpg", "png")}


def test_the_head_says_what_was_run_and_what_came_of_it(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        run = page.locator("#run")
        for text in (
            "quality/2026-11-23",
            "1,234",
            "of 1,239 in 2 sources",
            "5.39 %",
            "1,143,376",
            "1 h 12 min",
            "missing chunk: 2",
            "bad labels: 3",
            "4 workers",
            "softmin",
        ):
            expect(run).to_contain_text(text)
        expect(run.locator("tbody tr")).to_have_count(3)
        expect(run.locator("tbody tr").first).to_have_text(re.compile("condense1 h 2 min20.0 GiB3.0 GiB"))
        run.get_by_role("button", name="bad labels: 3").click()
        expect(page.locator(IDS)).to_have_text(names(rows(lambda row: row["status"] == "bad_labels")))
        expect(page.locator(".card .caption").first).to_contain_text("label 77 at (3, 55) is neither a class")


def test_the_table_of_classes_is_sorted_by_any_column(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        first = page.locator("#classes tbody td:first-child bdi")
        expect(first).to_have_text(["sidewalk", "building", "car", "sky", "tree", "road"])  # by flagged pixels
        page.locator("#classes thead").get_by_role("button", name="class").click()
        expect(first).to_have_text(list(PLAIN.names))
        for name, sort in (("quality", "descending"), ("quality", "ascending")):
            page.locator("#classes thead").get_by_role("button", name=name).click()
            expect(page.locator(f"#classes th[aria-sort={sort}]")).to_have_text(name)
        expect(first.first).to_have_text("building")


FILTERS: tuple[tuple[str, str, Callable[[dict[str, Any]], bool]], ...] = (
    ("given", "0", lambda row: any(pair[0] == 0 for pair in row["pairs"])),
    ("given", "none", lambda row: any(pair[0] is None for pair in row["pairs"])),
    ("suggested", "3", lambda row: any(pair[1] == 3 for pair in row["pairs"])),
    ("source", "1", lambda row: row["source"] == 1),
    ("status", "missing_chunk", lambda row: row["status"] == "missing_chunk"),
)


def test_each_filter_leaves_the_images_that_pass(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        for field, choice, passes in FILTERS:
            page.locator(f"#filter-{field}").select_option(choice)
            left = rows(passes)
            assert 0 < len(left) < 60
            expect(page.locator("#listed")).to_contain_text(f"{len(left)} of 60 images")
            expect(page.locator(IDS)).to_have_text(names(left))
            page.locator("#clear").click()
            expect(page.locator(IDS)).to_have_text(names(range(24)))


def test_a_column_of_the_path_filters_by_its_values_and_by_none(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        days = page.locator("#filter-col\\.dt")
        expect(days.locator("option")).to_have_text(["any", "(none)", "2026-11-20", "2026-11-21", "2026-11-22"])
        days.select_option(label="2026-11-21")
        expect(page.locator(IDS)).to_have_text(names(n for n in range(60) if n % 3 == 1 and n % 7 != 6))
        days.select_option(label="(none)")
        expect(page.locator(IDS)).to_have_text(names(n for n in range(60) if n % 7 == 6))


def test_filters_hold_together_and_the_text_is_searched_in_ids(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        page.locator("#filter-source").select_option("0")
        page.locator("#filter-q").fill("SCENE_0003")
        expect(page.locator(IDS)).to_have_text(names(range(30, 40, 2)))
        page.locator("#filter-q").fill("nowhere")
        expect(page.locator("#listed")).to_contain_text("0 of 60 images")
        expect(page.locator(".card")).to_have_count(0)


def sorted_by(order: str, number: int) -> float:
    """What the order puts first, least first; what has none comes last."""
    if order == "evidence":
        return -max((region[9] for region in regions_of(PLAIN, number)), default=-1e9)
    row = row_of(PLAIN, number)
    value = scores_of(PLAIN, number).get(order) if order != "flagged" else row["flagged"]
    return 1e9 if value is None else -value if order == "flagged" else value


def test_the_images_are_sorted_by_any_score_by_flagged_pixels_and_by_evidence(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        for order in ("clc", "flagged", "evidence", "iou"):
            page.locator("#sort").select_option(order)
            expect(page.locator(IDS)).to_have_text(names(sorted(range(60), key=lambda n, by=order: sorted_by(by, n))))
            expect(page.locator("#listed")).to_contain_text("of these alone: the others are not in this report")
        page.locator("#sort").select_option("rank")
        expect(page.locator(IDS)).to_have_text(names(range(24)))


def test_a_cell_of_the_heat_map_shows_its_images_and_is_let_go_again(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        cell = page.locator('.grid .cell[data-pair="1 2"]')
        expect(cell).to_have_attribute(
            "title", re.compile(r"^given sidewalk, suggested building, [\d,]+ px in 6 images$")
        )
        cell.click()
        expect(page.locator(IDS)).to_have_text(names(rows(has(1, 2))))
        expect(cell).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#filter-suggested")).to_have_value("2")
        cell.click()
        expect(page.locator(IDS)).to_have_text(names(range(24)))


def test_arrows_go_from_cell_to_cell_and_not_from_image_to_image(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        expect(page.locator(".card.current .id")).to_have_text(name_of(PLAIN, 0))
        page.locator(".grid .cell[tabindex='0']").focus()
        first = page.evaluate("document.activeElement.dataset.pair")
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.pair") == first
        expect(page.locator(".card.current .id")).to_have_text(name_of(PLAIN, 0))


def test_pages_are_turned_without_keeping_those_before(browser: Any, long: Path) -> None:
    with opened(browser, long) as page:
        expect(page.locator(".pager").first).to_contain_text("of 88")
        for _ in range(3):
            page.get_by_role("button", name="Next page").first.click()
        expect(page.locator(IDS)).to_have_text(names(range(72, 96), LONG))
        number = page.get_by_label("Page", exact=True).first
        number.fill("60")
        number.press("Enter")
        expect(page.locator(IDS)).to_have_text(names(range(59 * 24, 60 * 24), LONG))
        page.get_by_role("button", name="Last page").first.click()
        expect(page.locator(IDS)).to_have_text(names(range(87 * 24, 2100), LONG))
        expect(page.get_by_role("button", name="Next page").first).to_be_disabled()
        assert page.locator(".card img").count() == 12 * 3
        page.get_by_role("button", name="First page").first.click()
        page.locator("#sort").select_option("clc")  # rows of all files of regions on one page
        expect(page.locator(".card .caption", has_text="…")).to_have_count(0)
        assert page.evaluate("masksift.data.keptRegionFiles") <= 4


def test_a_link_shows_the_same_again_and_the_way_back_leads_back(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        page.locator("#filter-suggested").select_option("3")
        page.locator("#filter-col\\.dt").select_option(label="2026-11-21")
        page.locator("#sort").select_option("iou")
        page.keyboard.press("2")
        page.wait_for_url("**layer=given**")
        link = page.url.partition("#")[2]
        shown = page.locator(IDS).all_inner_texts()
        assert shown
        page.go_back()
        expect(page.locator("#sort")).to_have_value("rank")
    with opened(browser, plain, f"#{link}") as page:
        expect(page.locator(IDS)).to_have_text(shown)
        expect(page.locator("#filter-suggested")).to_have_value("3")
        expect(page.locator("#filter-col\\.dt option:checked")).to_have_text("2026-11-21")
        expect(page.get_by_role("button", name="Given", exact=True).first).to_have_attribute("aria-pressed", "true")


def test_what_makes_no_sense_in_a_link_is_passed_over(browser: Any, plain: Path) -> None:
    with opened(
        browser, plain, "#page=99&given=77&sort=x&status=y&image=-1&budget=0&verdict=z&layer=&col.no=1"
    ) as page:
        expect(page.locator(IDS)).to_have_text(names(range(48, 60)))  # the last page


def test_layers_are_switched_by_keys_and_by_buttons(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        expect(page.locator(".card").nth(3).locator(".box")).to_have_count(3)
        card = page.locator(".card").nth(3)
        parts = {name: card.locator(f".{name}") for name in ("given", "predicted", "issues", "boxes")}

        def shows(*wanted: str) -> None:
            expect(card.locator(".picture")).to_be_visible()
            for name, part in parts.items():
                expect(part).to_be_visible(visible=name in wanted)

        shows("issues", "boxes")
        for key, wanted in (
            ("2", {"given", "issues", "boxes"}),
            ("3", {"predicted", "issues", "boxes"}),
            ("4", {"predicted", "boxes"}),
            ("o", {"predicted"}),
            ("1", set()),
        ):
            page.keyboard.press(key)
            shows(*wanted)
        for name, wanted in (("Prediction", {"predicted"}), ("Issues", {"predicted", "issues"})):
            page.locator("#images").get_by_role("button", name=name, exact=True).click()
            shows(*wanted)
        page.get_by_label("Opacity of the layers").first.fill("20")
        assert parts["predicted"].evaluate("(node) => getComputedStyle(node).opacity") == "0.2"


def test_a_band_of_the_planes_fills_the_image(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#layer=predicted") as page:
        card = page.locator(".card").first
        expect(card.locator(".predicted img")).to_be_visible()
        shot, band = card.locator(".shot").bounding_box(), card.locator(".predicted img").bounding_box()
        assert band["height"] == pytest.approx(3 * shot["height"], abs=0.5)
        assert band["y"] == pytest.approx(shot["y"] - shot["height"], abs=0.5)  # the second of three
        assert (band["x"], band["width"]) == pytest.approx((shot["x"], shot["width"]), abs=0.5)


def test_regions_are_outlined_where_they_are_and_said_in_words(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        card = page.locator(".card").nth(3)
        _, _, given, suggested, y0, x0, y1, x1, area, *_ = regions_of(PLAIN, 3)[0]
        told = f"given {PLAIN.names[given]}, suggested {PLAIN.names[suggested]}, {area:,} px"
        expect(card.locator(".caption")).to_have_text(f"{told} · and 2 more regions")
        box = card.locator(".box", has_text=told).locator(".line")
        shot, found = card.locator(".shot").bounding_box(), box.bounding_box()
        scale = shot["width"] / 256
        assert (found["x"] - shot["x"], found["y"] - shot["y"]) == pytest.approx((x0 * scale, y0 * scale), abs=2.5)
        assert (found["width"], found["height"]) == pytest.approx(((x1 - x0) * scale, (y1 - y0) * scale), abs=4.5)


def test_the_budget_says_how_far_it_reaches_and_is_marked_among_the_images(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        said, end = page.locator("#scores output"), page.locator(".gallery .end")
        expect(said).to_have_text("of 1,234 images: 4.86 %, up to a softmin of 0.0630")  # as many as are shown
        page.locator("#budget-number").fill("10")
        page.locator("#budget-number").press("Enter")
        score = scores_of(PLAIN, 9)["softmin"]
        expect(said).to_have_text(f"of 1,234 images: 0.81 %, up to a softmin of {score:.4f}")
        expect(end).to_have_text(f"The budget of 10 images ends here: softmin {score:.4f}")
        expect(page.locator(".card.inside .id")).to_have_text(names(range(10)))
        assert page.locator(".gallery > *").nth(10).get_attribute("class") == "end"
        page.locator("#budget").evaluate("(node) => { node.value = node.max; node.dispatchEvent(new Event('input')); }")
        expect(page.locator("#budget-number")).to_have_value("1234")
        expect(said).to_have_text("of 1,234 images: 100 %, up to a softmin of 0.9193")
        expect(end).to_have_count(0)
        page.wait_for_url("**budget=1234**")


def test_each_score_has_its_distribution(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        expect(page.locator("figure figcaption")).to_have_text(["softmin ranks", "clc", "iou"])
        counts = page.evaluate("masksift.data.run.distribution.clc")
        bars = page.locator("figure").nth(1).locator("rect")
        expect(bars).to_have_count(sum(count > 0 for count in counts))
        tallest = counts.index(max(counts))
        height = float(page.locator(f"figure:nth-child(2) rect[data-bin='{tallest}']").get_attribute("height"))
        assert height == 40
        page.get_by_label("logarithmic heights").check()
        expect(page.locator("figure").nth(1).locator("rect")).to_have_count(sum(count > 0 for count in counts))


def test_a_report_that_is_not_whole_says_so(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", Made(rows=30))
    (report / "data" / "regions-00000.js").unlink()
    with watched(browser) as told:
        told.page.goto(f"{report.as_uri()}/index.html")
        expect(told.page.locator("#message")).to_contain_text("data/regions-00000.js cannot be read")
        expect(told.page.locator(IDS)).to_have_text(names(range(24)))
        (report / "data" / "run.js").unlink()
        told.page.reload()
        expect(told.page.locator("#message")).to_contain_text("data/run.js cannot be read: the folder of the report is")


def test_a_picture_that_is_lost_is_said_to_be(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", Made(rows=3))
    (report / "pictures" / "00000001.jpg").unlink()
    (report / "pictures" / "00000002.png").unlink()
    with watched(browser) as told:
        told.page.goto(f"{report.as_uri()}/index.html")
        expect(told.page.locator(".card .shot.lost-picture")).to_have_count(1)
        expect(told.page.locator(".card .shot.lost-planes")).to_have_count(1)
        expect(told.page.locator(".card").nth(1).locator(".picture")).to_be_hidden()
        expect(told.page.locator(".card").nth(1).locator(".issues")).to_be_visible()


def test_a_key_speaks_of_no_image_that_a_filter_has_taken_away(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        expect(page.locator(".card.current .id")).to_have_text(name_of(PLAIN, 0))
        page.locator("#filter-source").select_option("1")
        expect(page.locator(".card.current .id")).to_have_text(name_of(PLAIN, 1))
        page.locator("#listed").click()
        page.keyboard.press("a")
        expect(page.locator(".card.accept .id")).to_have_text([name_of(PLAIN, 1)])
