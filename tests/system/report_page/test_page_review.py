"""Reviewing in a real Chromium: verdicts by keys and buttons, kept, saved, read again; and one image at large."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from masksift.review.decisions import ReviewDecisions, load_decisions
from support.browser import watched, without
from system.report_page.fake_reports import NAMES, RUN, Made, make_report, name_of, regions_of, row_of
from system.report_page.open_page import IDS, PLAIN, names, opened

if not without():
    from playwright.sync_api import expect

NO_STORE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied'); } });"
CURRENT = ".card.current .id"


def place(number: int) -> tuple[str, int]:
    """Source and index of a row, by which verdicts are known."""
    row = row_of(PLAIN, number)
    return PLAIN.sources[row["source"]], row["index"]


def saved(page: Any, folder: Path) -> tuple[ReviewDecisions, dict[str, Any]]:
    """What the page saves, as the rest of masksift reads it, and as it stands there."""
    with page.expect_download() as coming:
        page.locator("#save").click()
    assert coming.value.suggested_filename == f"verdicts-{RUN[:12]}.json"
    file = folder / "verdicts.json"
    coming.value.save_as(file)
    return load_decisions(str(file), {}), json.loads(file.read_text())


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def on(page: Any, number: int) -> None:
    """The row that keys speak of, and that its regions are there."""
    expect(page.locator(CURRENT)).to_have_text(name_of(PLAIN, number))
    expect(page.locator(".card.current .box")).to_have_count(len(regions_of(PLAIN, number)))


def test_keys_give_verdicts_on_images_and_on_regions_which_the_file_holds(
    browser: Any, plain: Path, tmp_path: Path
) -> None:
    with opened(browser, plain) as page:
        on(page, 0)
        press(page, "a", "ArrowRight", "r", "j", "u", "j")
        on(page, 3)
        press(page, "n", "a", "n", "r", "n", "u", "n", "n", "p", "p", "Backspace", "k", "k", "ArrowLeft")
        on(page, 0)
        expect(page.locator("#reviewed")).to_have_text("4 images reviewed (2 ✓ 1 ✗ 1 ?), 2 regions")
        found, told = saved(page, tmp_path)
    first, second, _ = regions_of(PLAIN, 3)
    assert found.run == RUN
    assert found.images == {place(0): "accept", place(1): "reject", place(2): "unsure"}
    assert found.regions == {place(3): {first[0]: "accept", second[0]: "reject"}}
    assert found.ids[place(3)] == name_of(PLAIN, 3)
    (whole,) = [one for one in told["verdicts"] if one["region"] is not None and one["verdict"] == "accept"]
    assert whole == {
        "verdict": "accept",
        "image_id": name_of(PLAIN, 3),
        "source": place(3)[0],
        "index": place(3)[1],
        "region": {
            "rank": first[0],
            "kind": first[1],
            "given": NAMES[first[2]],
            "suggested": NAMES[first[3]],
            "area": first[8],
            "y0": first[4],
            "x0": first[5],
            "y1": first[6],
            "x1": first[7],
        },
    }


def test_an_omission_has_no_given_class(browser: Any, plain: Path, tmp_path: Path) -> None:
    number = next(n for n in range(24) if any(region[2] is None for region in regions_of(PLAIN, n)))
    at = next(at for at, region in enumerate(regions_of(PLAIN, number)) if region[2] is None)
    with opened(browser, plain, f"#image={number}") as page:
        page.locator("#large .region").nth(at).click()
        expect(page.locator("#large .tag")).to_have_text(re.compile("^nothing labelled, suggested "))
        page.locator("#large .more").nth(at).get_by_role("button", name=f"unsure region {at + 1}").click()
        _, told = saved_from_large(page, tmp_path)
    (one,) = told["verdicts"]
    assert (one["verdict"], one["region"]["kind"], one["region"]["given"]) == ("unsure", "omission", None)


def saved_from_large(page: Any, folder: Path) -> tuple[ReviewDecisions, dict[str, Any]]:
    page.keyboard.press("Escape")
    return saved(page, folder)


def test_buttons_give_and_take_back_the_same_verdicts(browser: Any, plain: Path, tmp_path: Path) -> None:
    with opened(browser, plain) as page:
        reject = page.get_by_role("button", name=f"reject image {name_of(PLAIN, 5)}")
        page.get_by_role("button", name=f"accept image {name_of(PLAIN, 4)}").click()
        reject.click()
        expect(reject).to_have_attribute("aria-pressed", "true")
        expect(page.locator(CURRENT)).to_have_text(name_of(PLAIN, 5))
        reject.click()
        expect(reject).to_have_attribute("aria-pressed", "false")
        assert saved(page, tmp_path)[0].images == {place(4): "accept"}


def test_verdicts_stay_in_the_browser_by_the_run(browser: Any, plain: Path, tmp_path: Path) -> None:
    other = make_report(tmp_path / "other", Made(rows=10, run="f" * 64))
    with opened(browser, plain) as page:
        on(page, 0)
        press(page, "a")
        page.reload()
        expect(page.locator("#reviewed")).to_contain_text("1 image reviewed")
        expect(page.locator(".card").first).to_have_class(re.compile(r"\baccept\b"))
        page.locator("#filter-verdict").select_option("none")
        expect(page.locator(IDS)).to_have_text(names(range(1, 25)))
    with watched(browser) as told:
        told.page.goto(f"{plain.as_uri()}/index.html")
        on(told.page, 0)
        press(told.page, "r")
        told.page.goto(f"{other.as_uri()}/index.html")
        expect(told.page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_a_second_tab_goes_on_from_what_the_first_one_has(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        on(page, 0)
        second = page.context.new_page()
        second.goto(page.url)
        on(second, 0)
        press(page, "a")
        expect(second.locator("#reviewed")).to_contain_text("1 image reviewed (1 ✓)")
        press(second, "ArrowRight", "r")
        expect(page.locator("#reviewed")).to_contain_text("2 images reviewed (1 ✓ 1 ✗)")


def test_without_a_store_all_works_and_it_is_said_that_nothing_is_kept(
    browser: Any, plain: Path, tmp_path: Path
) -> None:
    with opened(browser, plain, script=NO_STORE) as page:
        on(page, 0)
        press(page, "a")
        expect(page.locator("#reviewed")).to_contain_text("not kept by this browser: save them")
        assert saved(page, tmp_path)[0].images == {place(0): "accept"}
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_list_stands_while_verdicts_are_given_and_is_made_again_when_asked(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#verdict=none") as page:
        on(page, 0)
        press(page, "a", "ArrowRight", "r")
        expect(page.locator("#listed")).to_contain_text("; 2 verdicts since list again")
        expect(page.locator(IDS)).to_have_text(names(range(24)))
        page.get_by_role("button", name="list again").click()
        expect(page.locator(IDS)).to_have_text(names(range(2, 26)))


def file_of(folder: Path, verdicts: list[Mapping[str, Any]], **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "some.json"
    file.write_text(json.dumps({"format": 1, "run": RUN, "verdicts": verdicts, **more}))
    return file


def said(verdict: str, number: int, region: int | None = None, **more: Any) -> dict[str, Any]:
    source, index = place(number)
    told = None if region is None else {"rank": region}
    return {
        "verdict": verdict,
        "image_id": name_of(PLAIN, number),
        "source": source,
        "index": index,
        "region": told,
        **more,
    }


def test_a_saved_file_is_read_to_go_on_from(browser: Any, plain: Path, tmp_path: Path) -> None:
    rank = regions_of(PLAIN, 3)[0][0]
    first = [said("accept", 0), said("reject", 3, rank), {**said("unsure", 0), "source": "elsewhere"}]
    with opened(browser, plain) as page:
        on(page, 0)
        press(page, "r", "ArrowRight", "u")
        page.locator("#file").set_input_files(file_of(tmp_path, first, reviewer="ü"))
        expect(page.locator("#message")).to_contain_text("3 verdicts read from some.json")
        expect(page.locator(".card").first).to_have_class(re.compile(r"\baccept\b"))
        expect(page.locator(".card").nth(3).locator(".of-regions")).to_have_text("1 ✗")
        found, _ = saved(page, tmp_path)
        assert found.images == {place(0): "accept", place(1): "unsure", ("elsewhere", 0): "unsure"}
        assert found.regions == {place(3): {rank: "reject"}}
        page.get_by_role("button", name="Close", exact=True).first.click()
        expect(page.locator("#message")).to_be_hidden()


REFUSED = (
    (
        {"format": 1, "run": "e" * 64, "verdicts": []},
        "it is of the run eeeeeeeeeeee, and this report is of 0123",
    ),
    ({"format": 2, "run": RUN, "verdicts": []}, "it is no file of verdicts (format 1)"),
    ({"format": 1, "run": RUN, "verdicts": [said("accept", 0), said("maybe", 1)]}, "its verdict 2 is none"),
    ({"format": 1, "run": RUN, "verdicts": [said("accept", 0, 0)]}, "its verdict 1 is none"),
    ([], "it is no file of verdicts (format 1)"),
)


def test_a_file_that_is_none_changes_nothing(browser: Any, plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    with opened(browser, plain) as page:
        on(page, 0)
        for told, why in REFUSED:
            file.write_text(json.dumps(told))
            page.locator("#file").set_input_files(file)
            expect(page.locator("#message")).to_contain_text(f"other.json was not taken: {why}")
        file.write_text("image,verdict")
        page.locator("#file").set_input_files(file)
        expect(page.locator("#message")).to_contain_text("is not valid JSON")
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_the_page_and_the_file_agree_on_what_is_said_of_an_image(browser: Any, plain: Path, tmp_path: Path) -> None:
    drawn = random.Random(6)
    words = [None, "accept", "reject", "unsure"]
    verdicts: list[Mapping[str, Any]] = []
    for number, (whole, *regions) in enumerate(drawn.sample(list(itertools.product(words, repeat=3)), 60)):
        verdicts += [said(whole, number)] if whole else []
        verdicts += [said(word, number, rank) for rank, word in enumerate(regions, 1) if word]
    found = load_decisions(str(file_of(tmp_path, verdicts)), {})
    with opened(browser, plain) as page:
        on(page, 0)
        page.locator("#file").set_input_files(tmp_path / "some.json")
        for word in ("accept", "reject", "unsure", "none"):
            page.locator("#filter-verdict").select_option(word)
            left = [n for n in range(60) if found.of_image(place(n)) == (None if word == "none" else word)]
            expect(page.locator("#listed")).to_contain_text(f"{len(left)} of 60 images")
            expect(page.locator(IDS)).to_have_text(names(left))


def test_one_image_opens_at_large_with_its_facts_and_goes_on_by_keys(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        on(page, 0)
        press(page, "ArrowRight", "ArrowRight", "ArrowRight", "Enter")
        large = page.locator("#large")
        expect(large.locator("h2")).to_have_text(name_of(PLAIN, 3))
        for text in ("4 of 1,234", "south · 1", "256 × 192", "159 px"):
            expect(large.locator(".lines")).to_contain_text(text)
        expect(large.locator(".scores th")).to_have_text(["softmin", "clc", "iou"])
        expect(large.locator(".legend li")).to_have_text(["road", "sky", "car", "tree"])
        expect(large.locator(".region")).to_have_count(3)
        press(page, "n", "a", "p", "r", "ArrowRight")
        expect(large.locator("h2")).to_have_text(name_of(PLAIN, 4))
        expect(large.locator(".region")).to_have_count(4)
        press(page, "Escape")
        expect(large).to_be_hidden()
        expect(page.locator(CURRENT)).to_have_text(name_of(PLAIN, 4))
        expect(page.locator("#reviewed")).to_contain_text("1 image reviewed (1 ✓), 1 region")
        page.wait_for_url(lambda url: "image=" not in url)


def test_the_large_view_goes_through_pages_and_can_be_left_by_the_way_back(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        page.get_by_role("button", name=f"Open {name_of(PLAIN, 23)}, rank 24").click()
        press(page, "ArrowRight")
        expect(page.locator("#large h2")).to_have_text(name_of(PLAIN, 24))
        expect(page.get_by_label("Page", exact=True).first).to_have_value("2")
        page.go_back()
        expect(page.locator("#large")).to_be_hidden()


def test_verdicts_lead_on_where_that_is_wanted(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#image=0") as page:
        page.get_by_label("go on after a verdict").check()
        press(page, "a")
        expect(page.locator("#large h2")).to_have_text(name_of(PLAIN, 1))
        expect(page.locator("#large .region")).to_have_count(1)
        press(page, "n", "r")
        expect(page.locator("#large h2")).to_have_text(name_of(PLAIN, 2))
        page.reload()
        expect(page.get_by_label("go on after a verdict")).to_be_checked()


def test_an_image_is_zoomed_and_moved_and_a_region_comes_to_the_middle(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#image=3") as page:
        shot, stage = page.locator("#large .shot"), page.locator("#large .stage")
        expect(page.locator("#large .region")).to_have_count(3)
        fitting, room = shot.bounding_box(), stage.bounding_box()
        assert fitting["width"] == pytest.approx(room["width"], abs=1) or fitting["height"] == pytest.approx(
            room["height"], abs=1
        )
        press(page, "n", "z")
        box = page.locator("#large .box.chosen .line").bounding_box()
        assert shot.bounding_box()["width"] > 1.5 * fitting["width"]
        middle = (room["x"] + room["width"] / 2, room["y"] + room["height"] / 2)
        off = (box["x"] + box["width"] / 2 - middle[0], box["y"] + box["height"] / 2 - middle[1])
        assert abs(off[0]) < 0.3 * room["width"]  # as far as the image reaches
        before = shot.bounding_box()
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - 40, middle[1] - 30, steps=3)
        page.mouse.up()
        assert shot.bounding_box()["x"] == pytest.approx(before["x"] - 40, abs=1)
        page.mouse.wheel(0, 200)
        page.wait_for_function(f"() => document.querySelector('#large .shot').offsetWidth < {before['width'] / 1.4}")
        press(page, "0")
        assert shot.bounding_box() == pytest.approx(fitting, abs=1)


def test_a_click_on_a_box_chooses_the_region(browser: Any, plain: Path) -> None:
    with opened(browser, plain, "#image=3") as page:
        expect(page.locator("#large .region")).to_have_count(3)
        told = page.locator("#large .region").nth(2).inner_text()
        page.locator("#large .box", has_text=told).locator(".under").click()
        expect(page.locator("#large .tag")).to_have_text(told)
        expect(page.locator("#large .region").nth(2)).to_have_attribute("aria-current", "true")


def test_keys_are_told_on_a_question_mark_and_do_nothing_while_one_types(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as page:
        on(page, 0)
        press(page, "?")
        expect(page.locator("#help")).to_contain_text("take the verdict back")
        press(page, "a", "?")
        expect(page.locator("#help")).to_be_hidden()
        page.locator("#filter-q").press_sequentially("ar4")
        expect(page.locator("#listed")).to_contain_text("0 of 60 images")
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")
