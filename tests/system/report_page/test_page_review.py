"""Reviewing in Chromium: decisions by keys and buttons, storage, saving and loading, and the lightbox."""

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
from support.browser import missing_browser_reason, record_page
from system.report_page.fake_reports import NAMES, RUN, ReportSpec, image_id, make_regions, make_report, make_row
from system.report_page.open_page import IDS, PLAIN, first_page_ids, open_report

if not missing_browser_reason():
    from playwright.sync_api import expect

NO_LOCAL_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied'); } });"
CURRENT = ".card.current .id"


def key(number: int) -> tuple[str, int]:
    """Source and index of a row."""
    row = make_row(PLAIN, number)
    return PLAIN.sources[row["source"]], row["index"]


def save(page: Any, folder: Path) -> tuple[ReviewDecisions, dict[str, Any]]:
    """Save decisions; returns them parsed by masksift and as plain JSON."""
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == f"verdicts-{RUN[:12]}.json"
    file = folder / "verdicts.json"
    download.value.save_as(file)
    return load_decisions(str(file), {}), json.loads(file.read_text())


def press(page: Any, *keys: str) -> None:
    for name in keys:
        page.keyboard.press(name)


def expect_selected(page: Any, number: int) -> None:
    """Wait until a row is selected and its regions are loaded."""
    expect(page.locator(CURRENT)).to_have_text(image_id(PLAIN, number))
    expect(page.locator(".card.current .box")).to_have_count(len(make_regions(PLAIN, number)))


def test_keys_decide_on_images_and_regions(browser: Any, plain: Path, tmp_path: Path) -> None:
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        press(page, "a", "ArrowRight", "r", "j", "u", "j")
        expect_selected(page, 3)
        press(page, "n", "a", "n", "r", "n", "u", "n", "n", "p", "p", "Backspace", "k", "k", "ArrowLeft")
        expect_selected(page, 0)
        expect(page.locator("#reviewed")).to_have_text("4 images reviewed (2 ✓ 1 ✗ 1 ?), 2 regions")
        decisions, tree = save(page, tmp_path)
    first, second, _ = make_regions(PLAIN, 3)
    assert decisions.run == RUN
    assert decisions.images == {key(0): "accept", key(1): "reject", key(2): "unsure"}
    assert decisions.regions == {key(3): {first[0]: "accept", second[0]: "reject"}}
    assert decisions.ids[key(3)] == image_id(PLAIN, 3)
    (entry,) = [one for one in tree["verdicts"] if one["region"] is not None and one["verdict"] == "accept"]
    assert entry == {
        "verdict": "accept",
        "image_id": image_id(PLAIN, 3),
        "source": key(3)[0],
        "index": key(3)[1],
        "listed_regions": 3,
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


def test_omission_is_saved_without_given_class(browser: Any, plain: Path, tmp_path: Path) -> None:
    number = next(n for n in range(24) if any(region[2] is None for region in make_regions(PLAIN, n)))
    position = next(n for n, region in enumerate(make_regions(PLAIN, number)) if region[2] is None)
    with open_report(browser, plain, f"#image={number}") as page:
        page.locator("#lightbox .region").nth(position).click()
        expect(page.locator("#lightbox .tag")).to_have_text(re.compile("^unlabeled, suggested "))
        page.locator("#lightbox .more").nth(position).get_by_role(
            "button", name=f"unsure region {position + 1}"
        ).click()
        page.keyboard.press("Escape")
        _, tree = save(page, tmp_path)
    (entry,) = tree["verdicts"]
    assert (entry["verdict"], entry["region"]["kind"], entry["region"]["given"]) == ("unsure", "omission", None)


def test_button_pressed_again_withdraws_the_decision(browser: Any, plain: Path, tmp_path: Path) -> None:
    with open_report(browser, plain) as page:
        reject = page.get_by_role("button", name=f"reject image {image_id(PLAIN, 5)}")
        page.get_by_role("button", name=f"accept image {image_id(PLAIN, 4)}").click()
        reject.click()
        expect(reject).to_have_attribute("aria-pressed", "true")
        expect(page.locator(CURRENT)).to_have_text(image_id(PLAIN, 5))
        reject.click()
        expect(reject).to_have_attribute("aria-pressed", "false")
        assert save(page, tmp_path)[0].images == {key(4): "accept"}


def test_browser_stores_decisions_per_run(browser: Any, plain: Path, tmp_path: Path) -> None:
    other = make_report(tmp_path / "other", ReportSpec(rows=10, run="f" * 64))
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        press(page, "a")
        page.reload()
        expect(page.locator("#reviewed")).to_contain_text("1 image reviewed")
        expect(page.locator(".card").first).to_have_class(re.compile(r"\baccept\b"))
        page.locator("#filter-verdict").select_option("none")
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(1, 25)))
    with record_page(browser) as recorded:
        recorded.page.goto(f"{plain.as_uri()}/index.html")
        expect_selected(recorded.page, 0)
        press(recorded.page, "r")
        recorded.page.goto(f"{other.as_uri()}/index.html")
        expect(recorded.page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_two_tabs_share_decisions(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        second = page.context.new_page()
        second.goto(page.url)
        expect_selected(second, 0)
        press(page, "a")
        expect(second.locator("#reviewed")).to_contain_text("1 image reviewed (1 ✓)")
        press(second, "ArrowRight", "r")
        expect(page.locator("#reviewed")).to_contain_text("2 images reviewed (1 ✓ 1 ✗)")


def test_page_without_local_storage_works_and_warns(browser: Any, plain: Path, tmp_path: Path) -> None:
    with open_report(browser, plain, script=NO_LOCAL_STORAGE) as page:
        expect_selected(page, 0)
        press(page, "a")
        expect(page.locator("#reviewed")).to_contain_text("not stored by this browser: save them")
        assert save(page, tmp_path)[0].images == {key(0): "accept"}
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_decision_filter_updates_the_list_on_request_only(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#verdict=none") as page:
        expect_selected(page, 0)
        press(page, "a", "ArrowRight", "r")
        expect(page.locator("#listed")).to_contain_text("; 2 decisions since then, refresh the list")
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(24)))
        page.get_by_role("button", name="refresh the list").click()
        expect(page.locator(IDS)).to_have_text(first_page_ids(range(2, 26)))


def write_decisions(folder: Path, verdicts: list[Mapping[str, Any]], **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "some.json"
    file.write_text(json.dumps({"format": 1, "run": RUN, "verdicts": verdicts, **more}))
    return file


def entry_json(verdict: str, number: int, region: int | None = None, **more: Any) -> dict[str, Any]:
    source, index = key(number)
    return {
        "verdict": verdict,
        "image_id": image_id(PLAIN, number),
        "source": source,
        "index": index,
        "region": None if region is None else {"rank": region},
        **more,
    }


def test_loaded_file_merges_into_existing_decisions(browser: Any, plain: Path, tmp_path: Path) -> None:
    rank = make_regions(PLAIN, 3)[0][0]
    first = [entry_json("accept", 0), entry_json("reject", 3, rank), {**entry_json("unsure", 0), "source": "elsewhere"}]
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        press(page, "r", "ArrowRight", "u")
        page.locator("#file").set_input_files(write_decisions(tmp_path, first, reviewer="ü"))
        expect(page.locator("#message")).to_contain_text("3 decisions loaded from some.json")
        expect(page.locator(".card").first).to_have_class(re.compile(r"\baccept\b"))
        expect(page.locator(".card").nth(3).locator(".region-decisions")).to_have_text("1 ✗partly reviewed")
        expect(page.locator("#reviewed")).to_have_text("3 images reviewed (1 ✓ 2 ?), 1 partly reviewed, 1 region")
        decisions, _ = save(page, tmp_path)
        assert decisions.images == {key(0): "accept", key(1): "unsure", ("elsewhere", 0): "unsure"}
        assert decisions.regions == {key(3): {rank: "reject"}}
        page.get_by_role("button", name="Close", exact=True).first.click()
        expect(page.locator("#message")).to_be_hidden()


INVALID_FILES = (
    (
        {"format": 1, "run": "e" * 64, "verdicts": []},
        "it belongs to run eeeeeeeeeeee, this report shows run 0123",
    ),
    ({"format": 2, "run": RUN, "verdicts": []}, "it is not a decisions file (format 1)"),
    (
        {"format": 1, "run": RUN, "verdicts": [entry_json("accept", 0), entry_json("maybe", 1)]},
        "entry 2 is not a valid decision",
    ),
    ({"format": 1, "run": RUN, "verdicts": [entry_json("accept", 0, 0)]}, "entry 1 is not a valid decision"),
    (
        {"format": 1, "run": RUN, "verdicts": [entry_json("accept", 0, listed_regions="3")]},
        "entry 1 is not a valid decision",
    ),
    ([], "it is not a decisions file (format 1)"),
)


def test_invalid_file_changes_nothing(browser: Any, plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        for tree, reason in INVALID_FILES:
            file.write_text(json.dumps(tree))
            page.locator("#file").set_input_files(file)
            expect(page.locator("#message")).to_contain_text(f"other.json was not loaded: {reason}")
        file.write_text("image,verdict")
        page.locator("#file").set_input_files(file)
        expect(page.locator("#message")).to_contain_text("is not valid JSON")
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")


def test_page_and_package_combine_decisions_alike(browser: Any, plain: Path, tmp_path: Path) -> None:
    generator = random.Random(6)
    choices = [None, "accept", "reject", "unsure"]
    verdicts: list[Mapping[str, Any]] = []
    for number, (whole, *regions) in enumerate(generator.sample(list(itertools.product(choices, repeat=3)), 60)):
        ranks = [region[0] for region in make_regions(PLAIN, number)]
        listed = {"listed_regions": len(ranks)}
        verdicts += [entry_json(whole, number, **listed)] if whole else []
        decided = zip(ranks, regions, strict=False)
        verdicts += [entry_json(word, number, rank, **listed) for rank, word in decided if word]
    decisions = load_decisions(str(write_decisions(tmp_path, verdicts)), {})
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        page.locator("#file").set_input_files(tmp_path / "some.json")
        for word, statuses in {
            "accept": ["accept"],
            "reject": ["reject"],
            "unsure": ["unsure"],
            "partial": ["partial"],
            "none": [None],
            "reviewed": ["accept", "reject", "unsure"],
        }.items():
            page.locator("#filter-verdict").select_option(word)
            matching = [n for n in range(60) if decisions.for_image(key(n)) in statuses]
            assert matching
            expect(page.locator("#listed")).to_contain_text(f"{len(matching)} of 60 images")
            expect(page.locator(IDS)).to_have_text(first_page_ids(matching))


def test_image_is_partly_reviewed_until_all_its_regions_are_rejected(browser: Any, plain: Path, tmp_path: Path) -> None:
    reviewed, card = "#reviewed", ".card.current"
    with open_report(browser, plain, "#image=3") as page:
        progress = page.locator("#lightbox .whole-image [role=status]")
        expect(page.locator("#lightbox .region")).to_have_count(3)
        press(page, "n", "r", "n", "r")
        expect(progress).to_have_text("partly reviewed: 2 of 3 regions")
        expect(page.locator(reviewed)).to_have_text("0 images reviewed, 1 partly reviewed, 2 regions")
        press(page, "Escape")
        expect(page.locator(f"{card} .region-decisions")).to_have_text("2 ✗partly reviewed")
        expect(page.locator(card)).not_to_have_class(re.compile(r"\breject\b"))
        assert save(page, tmp_path)[0].for_image(key(3)) == "partial"
        press(page, "n", "r")
        expect(page.locator(f"{card} .region-decisions")).to_have_text("3 ✗")
        expect(page.locator(card)).to_have_class(re.compile(r"\breject\b"))
        expect(page.locator(reviewed)).to_have_text("1 image reviewed (1 ✗), 3 regions")
        assert save(page, tmp_path)[0].for_image(key(3)) == "reject"


def test_image_with_regions_beyond_those_shown_stays_partly_reviewed(browser: Any, tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", ReportSpec(rows=6, unshown_regions=1200))
    with open_report(browser, report, "#image=1") as page:
        expect(page.locator("#lightbox .regions")).to_contain_text(
            "1,200 more regions not shown: decide on them with the whole image"
        )
        press(page, "n", "r")
        expect(page.locator("#lightbox .whole-image")).to_contain_text("partly reviewed: 1 of 1,201 regions")
        press(page, "n", "r")
        expect(page.locator("#reviewed")).to_have_text("1 image reviewed (1 ✗), 1 region")


def test_file_without_numbers_of_listed_regions_is_completed(browser: Any, plain: Path, tmp_path: Path) -> None:
    ranks = [region[0] for region in make_regions(PLAIN, 3)]
    file = write_decisions(tmp_path, [entry_json("reject", 3, rank) for rank in ranks])
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        page.locator("#file").set_input_files(file)
        expect(page.locator("#reviewed")).to_have_text("1 image reviewed (1 ✗), 3 regions")
        assert save(page, tmp_path)[0].listed == {key(3): 3}


def test_lightbox_shows_details_and_follows_keys(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        press(page, "ArrowRight", "ArrowRight", "ArrowRight", "Enter")
        lightbox = page.locator("#lightbox")
        expect(lightbox.locator("h2")).to_have_text(image_id(PLAIN, 3))
        for text in ("4 of 1,234", "south · 1", "256 × 192", "159 px", "labels look mirrored left to right"):
            expect(lightbox.locator(".lines")).to_contain_text(text)
        expect(lightbox.locator(".lines")).not_to_contain_text("agrees")
        expect(lightbox.locator(".scores th")).to_have_text(["softmin", "clc", "iou"])
        expect(lightbox.locator(".legend li")).to_have_text(["road", "sky", "car", "tree"])
        expect(lightbox.locator(".region")).to_have_count(3)
        press(page, "n", "a", "p", "r", "ArrowRight")
        expect(lightbox.locator("h2")).to_have_text(image_id(PLAIN, 4))
        expect(lightbox.locator(".lines")).to_contain_text("agrees much less than in the other images")
        expect(lightbox.locator(".lines")).not_to_contain_text("labels look")
        expect(lightbox.locator(".region")).to_have_count(4)
        press(page, "Escape")
        expect(lightbox).to_be_hidden()
        expect(page.locator(CURRENT)).to_have_text(image_id(PLAIN, 4))
        expect(page.locator("#reviewed")).to_contain_text("1 image reviewed (1 ✓), 1 region")
        page.wait_for_url(lambda url: "image=" not in url)


def test_lightbox_crosses_pages_and_closes_on_back(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        page.get_by_role("button", name=f"Open {image_id(PLAIN, 23)}, rank 24").click()
        press(page, "ArrowRight")
        expect(page.locator("#lightbox h2")).to_have_text(image_id(PLAIN, 24))
        expect(page.get_by_label("Page", exact=True).first).to_have_value("2")
        page.go_back()
        expect(page.locator("#lightbox")).to_be_hidden()


def test_decision_advances_if_enabled(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#image=0") as page:
        page.get_by_label("advance after a decision").check()
        press(page, "a")
        expect(page.locator("#lightbox h2")).to_have_text(image_id(PLAIN, 1))
        expect(page.locator("#lightbox .region")).to_have_count(1)
        press(page, "n", "r")
        expect(page.locator("#lightbox h2")).to_have_text(image_id(PLAIN, 2))
        page.reload()
        expect(page.get_by_label("advance after a decision")).to_be_checked()


def test_lightbox_zooms_pans_and_centers_a_region(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#image=3") as page:
        overlay, stage = page.locator("#lightbox .image-overlay"), page.locator("#lightbox .stage")
        expect(page.locator("#lightbox .region")).to_have_count(3)
        fitting, room = overlay.bounding_box(), stage.bounding_box()
        assert fitting["width"] == pytest.approx(room["width"], abs=1) or fitting["height"] == pytest.approx(
            room["height"], abs=1
        )
        press(page, "n", "z")
        box = page.locator("#lightbox .box.selected .line").bounding_box()
        assert overlay.bounding_box()["width"] > 1.5 * fitting["width"]
        middle = (room["x"] + room["width"] / 2, room["y"] + room["height"] / 2)
        off = (box["x"] + box["width"] / 2 - middle[0], box["y"] + box["height"] / 2 - middle[1])
        assert abs(off[0]) < 0.3 * room["width"]  # the image edge limits centering
        before = overlay.bounding_box()
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - 40, middle[1] - 30, steps=3)
        page.mouse.up()
        assert overlay.bounding_box()["x"] == pytest.approx(before["x"] - 40, abs=1)
        page.mouse.wheel(0, 200)
        page.wait_for_function(
            f"() => document.querySelector('#lightbox .image-overlay').offsetWidth < {before['width'] / 1.4}"
        )
        press(page, "0")
        assert overlay.bounding_box() == pytest.approx(fitting, abs=1)


def test_click_on_a_box_selects_the_region(browser: Any, plain: Path) -> None:
    with open_report(browser, plain, "#image=3") as page:
        expect(page.locator("#lightbox .region")).to_have_count(3)
        text = page.locator("#lightbox .region").nth(2).inner_text()
        page.locator("#lightbox .box", has_text=text).locator(".under").click()
        expect(page.locator("#lightbox .tag")).to_have_text(text)
        expect(page.locator("#lightbox .region").nth(2)).to_have_attribute("aria-current", "true")


def test_question_mark_shows_keys_which_typing_does_not_trigger(browser: Any, plain: Path) -> None:
    with open_report(browser, plain) as page:
        expect_selected(page, 0)
        press(page, "?")
        expect(page.locator("#help")).to_contain_text("withdraw the decision")
        press(page, "a", "?")
        expect(page.locator("#help")).to_be_hidden()
        page.locator("#filter-q").press_sequentially("ar4")
        expect(page.locator("#listed")).to_contain_text("0 of 60 images")
        expect(page.locator("#reviewed")).to_have_text("nothing reviewed yet")
