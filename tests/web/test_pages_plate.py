"""The plate's page in a real browser, over a real server and a filled state folder."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree

import filled
import pytest
from axe_playwright_python.sync_playwright import Axe
from filled import ODD, PLATE
from playwright.sync_api import Page, Route, expect

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger

pytest_plugins = ["browser"]

LIVE_SECONDS = 2.0  # from the commit to the page
DRAW_SECONDS = 0.2  # for 384 curves of 60 points
SLOWER = 4  # machines under test have other work
Open = Callable[..., Page]

# Wells whose drawing changes from now on; words for screen readers are no drawing.
WATCH = """() => {
  window.redrawn = new Set();
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const well = target.closest?.("[data-well]");
      if (well) window.redrawn.add(well.dataset.well);
    }
  }).observe(document.querySelector("[data-grid]"), {
    subtree: true, childList: true, attributeFilter: ["fill", "d", "cx", "cy", "stroke"] });
}"""


@pytest.fixture
def open_plate(page: Page, address: str) -> Open:
    """Opens a plate's page and waits until it is drawn."""

    def opened(plate: str = PLATE, chosen: str = "") -> Page:
        page.goto(f"{address}/plate?{urlencode({'plate': plate})}{chosen}")
        expect(page.locator("[data-ready]")).to_be_attached()
        return page

    return opened


def well(page: Page, name: str) -> Any:
    return page.locator(f'[data-well="{name}"]')


def fill(page: Page, name: str) -> str | None:
    found: str | None = well(page, name).locator("circle").first.get_attribute("fill")
    return found


def shown_time(page: Page) -> str:
    return page.locator("[data-now]").inner_text()


def test_the_map_is_the_plate(open_plate: Open) -> None:
    page = open_plate()
    expect(page.get_by_role("heading", level=1)).to_contain_text(PLATE)
    expect(page.locator("[data-facts]")).to_contain_text("96-well plate, 7 wells")
    expect(page.locator("[data-review]")).to_be_visible()
    assert page.locator('[role="gridcell"]').count() == 96
    # 1000 px grown by 15 % eight times, of 2 µm each.
    expect(well(page, "A1")).to_have_attribute("aria-label", re.compile(r"^A1: 12,236 µm², \+\d"))
    expect(well(page, "A2")).to_have_attribute("aria-label", re.compile("2 flags, 2 to review"))
    expect(well(page, "H12")).to_have_attribute("aria-label", re.compile("^H12: 0 µm²"))
    expect(well(page, "C3")).to_have_attribute("aria-label", re.compile("^C3: no area"))
    assert fill(page, "C3") == "url(#hatch)"
    assert fill(page, "A1") != fill(page, "H1")
    expect(page.locator("[data-scale]")).to_contain_text("Area (µm²)")
    well(page, "A1").hover()
    expect(page.get_by_role("tooltip", include_hidden=True)).to_contain_text("12,236 µm²")

    page.get_by_label("Colour").select_option("since")
    expect(page.locator("[data-scale]")).to_contain_text("(h)")
    page.get_by_label("Field or channel").select_option(label="field 2")  # B1 alone has fields
    assert fill(page, "A1") == "url(#hatch)"
    assert fill(page, "B1") != "url(#hatch)"


def test_the_slider_goes_through_time(open_plate: Open) -> None:
    page = open_plate()
    at_end = fill(page, "A1")
    slider = page.locator("[data-time]")
    assert shown_time(page) == "14.0 h"
    slider.press("Home")
    assert shown_time(page) == "0.0 h"
    assert fill(page, "A1") != at_end
    slider.press("ArrowRight")
    assert shown_time(page) == "2.0 h"
    page.wait_for_function(  # a line across the curves goes along
        "() => document.querySelector('[data-overlay]').layout?.shapes[0]?.x0 === 2"
    )
    slider.press("End")
    expect(page.locator("[data-follow]")).to_have_attribute("aria-pressed", "true")
    slider.press("Home")
    page.get_by_label("Whole run in").select_option("5")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function("() => Number(document.querySelector('[data-time]').value) > 1")
    page.get_by_role("button", name="Pause").click()
    assert shown_time(page) != "14.0 h"
    page.emulate_media(reduced_motion="reduce")  # then in steps
    slider.press("Home")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('[data-now]').textContent !== '0.0 h'")
    assert shown_time(page) == "2.0 h"


def test_wells_are_chosen_and_laid_over_one_another(open_plate: Open) -> None:
    page = open_plate()
    expect(page.locator("[data-chosen]")).to_have_text(
        "All 6 wells; choose some to see them alone."  # and one of which nothing is measured
    )
    expect(page.locator(".legendtext").first).to_have_text("A1")
    well(page, "A1").focus()
    for key in ("Space", "ArrowRight", "Space"):
        page.keyboard.press(key)
    assert chosen(page) == ["A1", "A2"]
    expect(page.locator(".legendtext")).to_have_text(["A1", "A2", "flagged"])
    page.get_by_role("rowheader", name="Row H").click()
    assert chosen(page) == ["A1", "A2", "H1", "H12"]
    page.get_by_role("columnheader", name="Column 12").click()
    assert chosen(page) == ["A1", "A2", "H1", "H12", "A12"]
    expect(page.locator(".legendtext").last).to_have_text("excluded")
    page.get_by_role("columnheader", name="Column 12").click()
    well(page, "A1").click()
    assert chosen(page) == ["A2", "H1"]
    drag(page, "A1", "C3")
    assert chosen(page) == ["A2", "H1", "A1", "B1", "C3"]
    expect(page.locator("[data-chosen]")).to_have_text("5 wells chosen.")

    page.reload()  # as somebody would who was sent the address
    expect(page.locator(".legendtext").first).to_have_text("A2")
    page.get_by_role("button", name="None").click()
    expect(page.locator("[data-overlay]")).to_be_hidden()
    page.get_by_role("button", name="All", exact=True).click()
    assert len(chosen(page)) == 7


def chosen(page: Page) -> list[str]:
    return urlsplit(page.url).fragment.removeprefix("wells=").split(",")


def drag(page: Page, start: str, end: str) -> None:
    for name, press in ((start, page.mouse.down), (end, page.mouse.up)):
        box = well(page, name).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
        press()


def test_wells_and_points_open_their_page(open_plate: Open) -> None:
    page = open_plate(chosen="#wells=A2")
    expect(page.locator(".legendtext").first).to_have_text("A2")
    # Where the fifth point of the first line is, as plotly has it.
    at = page.evaluate(
        """() => {
          const chart = document.querySelector("[data-overlay]");
          const { xaxis, yaxis } = chart._fullLayout;
          const box = chart.getBoundingClientRect(), { x, y, customdata } = chart.data[0];
          return [box.x + xaxis._offset + xaxis.d2p(x[4]), box.y + yaxis._offset + yaxis.d2p(y[4]),
                  customdata[4][1]];
        }"""
    )
    page.mouse.move(*at[:2])
    expect(page.locator(".hoverlayer")).to_contain_text("8.0 h")
    page.mouse.click(*at[:2])
    page.wait_for_url("**/well?**")
    assert parse_qs(urlsplit(page.url).query) == {
        "plate": [PLATE], "well": ["A2"], "image": [str(at[2])]
    }  # fmt: skip
    open_plate(ODD)  # names that need care, in a plain grid
    well(page, "right/1").press("Enter")
    page.wait_for_url("**/well?**")
    assert parse_qs(urlsplit(page.url).query) == {"plate": [ODD], "well": ["right/1"]}


def test_curves_lie_as_the_wells_do(open_plate: Open) -> None:
    page = open_plate()
    page.get_by_role("button", name="Curves").click()
    expect(page.locator("[data-note]")).to_contain_text("from 0 to 16,000 µm², over 0 to 14 h")
    lines = page.locator('[data-well="A1"] path').first
    common = lines.get_attribute("d")
    page.get_by_label("logarithmic").first.check()
    page.get_by_label("own scale for each well").check()
    expect(page.locator("[data-note]")).to_contain_text("each on its own scale (logarithmic)")
    assert lines.get_attribute("d") != common
    assert urlsplit(page.url).fragment == "view=curves&own=1&log=1"
    page.get_by_label("logarithmic").first.uncheck()
    # Two flagged points of A2 are triangles, the excluded one of A12 is a ring.
    assert marks(page, "A2", "M") == [1, 2]
    assert marks(page, "A12", "a") == [0, 2]


def marks(page: Page, name: str, command: str) -> list[int]:
    """How often a command comes in each path of a well: its line, its marks."""
    paths = page.locator(f'[data-well="{name}"] path:not([stroke-width="0.5"])').all()
    return [(path.get_attribute("d") or "").count(command) for path in paths]


def test_what_is_shown_can_be_saved(open_plate: Open, tmp_path: Path) -> None:
    page = open_plate(chosen="#wells=A1,A12")
    expect(page.locator(".legendtext").first).to_have_text("A1")
    for part in ("plate-files", "overlay-files"):
        png, svg, table = (saved(page, part, ending, tmp_path) for ending in ("png", "svg", "csv"))
        assert png.startswith(b"\x89PNG") and len(png) > 10_000
        text = "".join(ElementTree.fromstring(svg).itertext())
        assert PLATE in text
        rows = list(csv.DictReader(table.decode().splitlines()))
        areas = {row["well"]: row.get("value", row.get("area")) for row in rows}
        assert areas["A1"].startswith("12236.09")
        assert areas.keys() == ({"A1", "A12"} if part == "overlay-files" else areas.keys())
        assert len(rows) == {"plate-files": 7, "overlay-files": 16}[part]


def saved(page: Page, part: str, ending: str, folder: Path) -> bytes:
    with page.expect_download() as coming:
        page.locator(f"[data-{part}] [data-save={ending}]").click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    assert path.suffix == f".{ending}"
    return path.read_bytes()


def test_what_is_not_drawn_is_said(page: Page, open_plate: Open) -> None:
    def fewer(route: Route) -> None:
        answer = route.fetch()
        plate = answer.json()
        plate["wells"][0]["images"] += 1000  # of which the server has left these out
        route.fulfill(response=answer, json=plate)

    page.route("**/api/v1/plate?*", fewer)
    open_plate()
    expect(page.locator("[data-note]")).to_contain_text("of 1,056 images, all flagged and excluded")


def test_data_that_did_not_come_is_asked_for_again(page: Page, open_plate: Open) -> None:
    page.route("**/api/v1/plate?*", lambda route: route.abort(), times=1)
    open_plate()
    expect(page.locator("[data-trouble]")).to_be_hidden()


def test_a_new_measurement_redraws_its_well_alone(open_plate: Open, state: StateFolder) -> None:
    page = open_plate()
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    before = fill(page, "H1")
    page.evaluate(WATCH)
    with Database(state.database) as database:
        Ledger(database).claim("segmented", filled.AT)  # the image of C3 is somebody else's
        filled.Filler(state, database).measured(PLATE, "H1", 9, areas=[2800.0])
    page.wait_for_function(
        "() => document.querySelector('[data-now]').textContent === '16.0 h'",
        timeout=LIVE_SECONDS * 1000 * SLOWER,
    )
    assert fill(page, "H1") != before
    assert page.evaluate("() => [...window.redrawn]") == ["H1"]


def test_small_and_dark(page: Page, open_plate: Open) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    open_plate(chosen="#wells=A1,A2")
    expect(page.locator(".legendtext").first).to_have_text("A1")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    ring = well(page, "A1").locator("circle").first
    dark = ring.get_attribute("stroke")
    page.locator("[data-theme-switch]").click()
    assert ring.get_attribute("stroke") != dark
    page.get_by_role("button", name="Curves").click()  # test_accessible.py looks at the map
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_384_wells_are_drawn_at_once(page: Page, open_plate: Open) -> None:
    answer = json.dumps(large_plate())

    def give(route: Route) -> None:
        route.fulfill(body=answer, content_type="application/json")

    page.route("**/api/v1/plate?*", give)
    open_plate()
    took = page.evaluate(
        """async () => {
          const began = performance.now();
          document.querySelector("button[value=curves]").click();
          await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
          return performance.now() - began;
        }"""
    )
    assert page.locator("[data-well] path").count() == 384
    assert took < DRAW_SECONDS * 1000 * SLOWER


def large_plate() -> dict[str, Any]:
    hours = [1.5 * n for n in range(60)]
    series = {
        "field": None, "channel": None, "hours": hours, "area": [9e3 + 200 * n for n in hours],
        "relative": [100.0 + n for n in hours], "image": list(range(60)), "flagged": [],
        "excluded": [], "first_area": 9e3,
    }  # fmt: skip
    wells = [
        {
            "well": f"{chr(65 + row)}{column + 1}", "row": row, "column": column, "flags": 0,
            "to_review": 0, "images": 60, "series": [series], "last": None,
        }
        for row in range(16) for column in range(24)
    ]  # fmt: skip
    shape = {"kind": "plate", "wells": 384, "rows": 16, "columns": 24}
    return {"plate": PLATE, "seq": 10**9, "unit": "µm²", "geometry": shape, "wells": wells}
