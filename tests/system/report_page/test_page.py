"""The report page in Chromium: run summary, filters, sorting, paging, layers, charts and incomplete reports."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.browser import missing_browser_reason, record_page, serve_directory
from system.report_page.fake_reports import ReportSpec, image_id, make_regions, make_report, make_row, make_scores
from system.report_page.open_page import IDS, LONG, PLAIN, first_page_ids, open_report

if not missing_browser_reason():
    from playwright.sync_api import expect


def rows(predicate: Callable[[dict[str, Any]], bool]) -> list[int]:
    return [number for number in range(PLAIN.rows) if predicate(make_row(PLAIN, number))]


def has_pair(given: Any, suggested: int) -> Callable[[dict[str, Any]], bool]:
    return lambda row: [given, suggested] in row["pairs"]


@pytest.mark.parametrize("origin", ["disk", "server"])
def test_page_requests_only_files_of_the_report(browser: Any, plain: Path, origin: str) -> None:
    with serve_directory(plain) as url, record_page(browser) as recorded:
        base = plain.as_uri() if origin == "disk" else url
        recorded.page.goto(f"{base}/index.html")
        expect(recorded.page.locator(IDS)).to_have_text(first_page_ids(range(24)))
        expect(recorded.page.locator("#listed")).to_have_text("60 images, the first of 1,234 ranked by softmin")
        expect(recorded.page.locator("#filter-col\\.dt option")).to_have_count(5)
        recorded.page.wait_for_function(
            "() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
        )
        assert recorded.messages == []
        assert {url for url in recorded.requests if not url.startswith(f"{base}/")} == set()
        pictures = {url.rpartition("/")[2] for url in recorded.requests if "/pictures/" in url}
        assert pictures == {f"{number:08d}.{ending}" for number in range(24) for ending in ("jpg", "png")}


def test_run_summary_shows_counts_times_and_quarantine_reasons(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
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
            "3, such as a/1: Pass --ignore 7.",
            "4 workers",
            "softmin",
        ):
            expect(run).to_contain_text(text)
        expect(run.locator("tbody tr")).to_have_count(3)
        expect(run.locator("tbody tr").first).to_have_text(re.compile("condense1 h 2 min20.0 GiB3.0 GiB"))
        run.get_by_role("button", name="bad labels: 3").click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(rows(lambda row: row["status"] == "bad_labels")))
        expect(page.locator(".card .caption").first).to_contain_text("label 77 at (3, 55) is neither a class")


def test_class_table_sorts_by_the_clicked_column(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
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


def test_filter_keeps_matching_images(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        for field, option, predicate in FILTERS:
            page.locator(f"#filter-{field}").select_option(option)
            matching = rows(predicate)
            assert 0 < len(matching) < 60
            expect(page.locator("#listed")).to_contain_text(f"{len(matching)} of 60 images")
            expect(page.locator(IDS)).to_have_text(first_page_ids(matching))
            page.locator("#clear").click()
            expect(page.locator(IDS)).to_have_text(first_page_ids(range(24)))


def test_path_column_filters_by_value_and_by_missing_value(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        days = page.locator("#filter-col\\.dt")
        expect(days.locator("option")).to_have_text(["any", "(none)", "2026-11-20", "2026-11-21", "2026-11-22"])
        days.select_option(label="2026-11-21")
        expect(page.locator(IDS)).to_have_text(first_page_ids(n for n in range(60) if n % 3 == 1 and n % 7 != 6))
        days.select_option(label="(none)")
        expect(page.locator(IDS)).to_have_text(first_page_ids(n for n in range(60) if n % 7 == 6))


def test_filters_combine_and_search_ignores_case(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        page.locator("#filter-source").select_option("0")
        page.locator("#filter-q").fill("SCENE_0003")
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(30, 40, 2)))
        page.locator("#filter-q").fill("nowhere")
        expect(page.locator("#listed")).to_contain_text("0 of 60 images")
        expect(page.locator(".card")).to_have_count(0)


def sort_key(order: str, number: int) -> float:
    """The sort key of a row, ascending; rows without a value come last."""
    if order == "region":
        return next((region[0] for region in make_regions(PLAIN, number)), 1e9)
    row = make_row(PLAIN, number)
    value = make_scores(PLAIN, number).get(order) if order != "flagged" else row["flagged"]
    return 1e9 if value is None else -value if order == "flagged" else value


def test_images_sort_by_score_flagged_pixels_or_worst_region(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        for order in ("clc", "flagged", "region", "iou"):
            page.locator("#sort").select_option(order)
            expect(page.locator(IDS)).to_have_text(
                first_page_ids(sorted(range(60), key=lambda n, by=order: sort_key(by, n)))
            )
            expect(page.locator("#listed")).to_contain_text("this report does not contain the others")
        page.locator("#sort").select_option("rank")
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(24)))


def test_heat_map_cell_toggles_its_filter(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        cell = page.locator('.grid .cell[data-pair="1 2"]')
        expect(cell).to_have_attribute(
            "title", re.compile(r"^given sidewalk, suggested building, [\d,]+ px in 6 images$")
        )
        cell.click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(rows(has_pair(1, 2))))
        expect(cell).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#filter-suggested")).to_have_value("2")
        cell.click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(24)))


def test_arrow_keys_in_heat_map_move_between_cells_only(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect(page.locator(".card.current .id")).to_have_text(image_id(PLAIN, 0))
        page.locator(".grid .cell[tabindex='0']").focus()
        first = page.evaluate("document.activeElement.dataset.pair")
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.pair") == first
        expect(page.locator(".card.current .id")).to_have_text(image_id(PLAIN, 0))


def test_paging_releases_previous_pages(browser: Any, long: Path) -> None:
    with open_report(browser, long) as page:
        expect(page.locator(".pager").first).to_contain_text("of 88")
        for _ in range(3):
            page.get_by_role("button", name="Next page").first.click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(72, 96), LONG))
        number = page.get_by_label("Page", exact=True).first
        number.fill("60")
        number.press("Enter")
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(59 * 24, 60 * 24), LONG))
        page.get_by_role("button", name="Last page").first.click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(87 * 24, 2100), LONG))
        expect(page.get_by_role("button", name="Next page").first).to_be_disabled()
        assert page.locator(".card img").count() == 12 * 3
        page.get_by_role("button", name="First page").first.click()
        page.locator("#sort").select_option("clc")  # rows of all regions files on one page
        expect(page.locator(".card .caption", has_text="…")).to_have_count(0)
        assert page.evaluate("masksift.data.cachedRegionFiles") <= 4


def test_link_restores_the_view_and_back_undoes_a_change(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        page.locator("#filter-suggested").select_option("3")
        page.locator("#filter-col\\.dt").select_option(label="2026-11-21")
        page.locator("#sort").select_option("iou")
        page.keyboard.press("2")
        page.wait_for_url("**layer=given**")
        link = page.url.partition("#")[2]
        ids = page.locator(IDS).all_inner_texts()
        assert ids
        page.go_back()
        expect(page.locator("#sort")).to_have_value("rank")
    with open_report(browser, plain, f"#{link}") as page:
        expect(page.locator(IDS)).to_have_text(ids)
        expect(page.locator("#filter-suggested")).to_have_value("3")
        expect(page.locator("#filter-col\\.dt option:checked")).to_have_text("2026-11-21")
        expect(page.get_by_role("button", name="Given", exact=True).first).to_have_attribute("aria-pressed", "true")


def test_invalid_values_of_a_link_are_ignored(browser: Any, plain: Path) -> None:
    with open_report(
        browser, plain, "#page=99&given=77&sort=x&status=y&image=-1&budget=0&verdict=z&layer=&col.no=1"
    ) as page:
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(48, 60)))  # the last page


def test_layers_switch_by_keys_and_buttons(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect(page.locator(".card").nth(3).locator(".box")).to_have_count(3)
        card = page.locator(".card").nth(3)
        layers = {name: card.locator(f".{name}") for name in ("given", "predicted", "issues", "boxes")}

        def expect_layers(*expected: str) -> None:
            expect(card.locator(".picture")).to_be_visible()
            for name, layer in layers.items():
                expect(layer).to_be_visible(visible=name in expected)

        expect_layers("issues", "boxes")
        for key, expected in (
            ("2", {"given", "issues", "boxes"}),
            ("3", {"predicted", "issues", "boxes"}),
            ("4", {"predicted", "boxes"}),
            ("o", {"predicted"}),
            ("1", set()),
        ):
            page.keyboard.press(key)
            expect_layers(*expected)
        for name, expected in (("Prediction", {"predicted"}), ("Issues", {"predicted", "issues"})):
            page.locator("#images").get_by_role("button", name=name, exact=True).click()
            expect_layers(*expected)
        page.get_by_label("Opacity of the layers").first.fill("20")
        assert layers["predicted"].evaluate("(node) => getComputedStyle(node).opacity") == "0.2"


def test_plane_covers_the_image(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#layer=predicted") as page:
        card = page.locator(".card").first
        expect(card.locator(".predicted img")).to_be_visible()
        overlay, plane = card.locator(".image-overlay").bounding_box(), card.locator(".predicted img").bounding_box()
        assert plane["height"] == pytest.approx(3 * overlay["height"], abs=0.5)
        assert plane["y"] == pytest.approx(overlay["y"] - overlay["height"], abs=0.5)  # the second of three
        assert (plane["x"], plane["width"]) == pytest.approx((overlay["x"], overlay["width"]), abs=0.5)


def test_region_outline_and_caption_match_the_region(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        card = page.locator(".card").nth(3)
        _, _, given, suggested, y0, x0, y1, x1, area, *_ = make_regions(PLAIN, 3)[0]
        text = f"given {PLAIN.names[given]}, suggested {PLAIN.names[suggested]}, {area:,} px"
        expect(card.locator(".caption")).to_have_text(f"{text} · and 2 more regions")
        box = card.locator(".box", has_text=text).locator(".line")
        overlay, outline = card.locator(".image-overlay").bounding_box(), box.bounding_box()
        scale = overlay["width"] / 256
        assert (outline["x"] - overlay["x"], outline["y"] - overlay["y"]) == pytest.approx(
            (x0 * scale, y0 * scale), abs=2.5
        )
        assert (outline["width"], outline["height"]) == pytest.approx(((x1 - x0) * scale, (y1 - y0) * scale), abs=4.5)


def test_budget_shows_the_score_reached_and_marks_its_end(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        summary, end = page.locator("#scores output"), page.locator(".gallery .end")
        expect(summary).to_have_text("of 1,234 images: 4.86 %, up to a softmin of 0.0630")
        page.locator("#budget-number").fill("10")
        page.locator("#budget-number").press("Enter")
        score = make_scores(PLAIN, 9)["softmin"]
        expect(summary).to_have_text(f"of 1,234 images: 0.81 %, up to a softmin of {score:.4f}")
        expect(end).to_have_text(f"The budget of 10 images ends here: softmin {score:.4f}")
        expect(page.locator(".card.inside .id")).to_have_text(first_page_ids(range(10)))
        assert page.locator(".gallery > *").nth(10).get_attribute("class") == "end"
        page.locator("#budget").evaluate("(node) => { node.value = node.max; node.dispatchEvent(new Event('input')); }")
        expect(page.locator("#budget-number")).to_have_value("1234")
        expect(summary).to_have_text("of 1,234 images: 100 %, up to a softmin of 0.9193")
        expect(end).to_have_count(0)
        page.wait_for_url("**budget=1234**")


def test_each_score_has_a_histogram(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect(page.locator("figure figcaption")).to_have_text(["softmin (ranked by)", "clc", "iou"])
        counts = page.evaluate("masksift.data.run.distribution.clc")
        bars = page.locator("figure").nth(1).locator("rect")
        expect(bars).to_have_count(sum(count > 0 for count in counts))
        tallest = counts.index(max(counts))
        height = float(page.locator(f"figure:nth-child(2) rect[data-bin='{tallest}']").get_attribute("height"))
        assert height == 40
        page.get_by_label("logarithmic scale").check()
        expect(page.locator("figure").nth(1).locator("rect")).to_have_count(sum(count > 0 for count in counts))


def test_incomplete_report_names_the_missing_file(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=30))
    (report / "data" / "regions-00000.js").unlink()
    with record_page(browser) as recorded:
        recorded.page.goto(f"{report.as_uri()}/index.html")
        expect(recorded.page.locator("#message")).to_contain_text("data/regions-00000.js cannot be read")
        expect(recorded.page.locator(IDS)).to_have_text(first_page_ids(range(24)))
        (report / "data" / "run.js").unlink()
        recorded.page.reload()
        expect(recorded.page.locator("#message")).to_contain_text("data/run.js cannot be read: the report folder is")


def test_missing_image_file_is_marked(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=3))
    (report / "pictures" / "00000001.jpg").unlink()
    (report / "pictures" / "00000002.png").unlink()
    with record_page(browser) as recorded:
        recorded.page.goto(f"{report.as_uri()}/index.html")
        expect(recorded.page.locator(".card .image-overlay.failed-picture")).to_have_count(1)
        expect(recorded.page.locator(".card .image-overlay.failed-planes")).to_have_count(1)
        expect(recorded.page.locator(".card").nth(1).locator(".picture")).to_be_hidden()
        expect(recorded.page.locator(".card").nth(1).locator(".issues")).to_be_visible()


def test_key_acts_on_no_image_that_the_filter_removed(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect(page.locator(".card.current .id")).to_have_text(image_id(PLAIN, 0))
        page.locator("#filter-source").select_option("1")
        expect(page.locator(".card.current .id")).to_have_text(image_id(PLAIN, 1))
        page.locator("#listed").click()
        page.keyboard.press("a")
        expect(page.locator(".card.accept .id")).to_have_text([image_id(PLAIN, 1)])
