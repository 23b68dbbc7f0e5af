"""The page of one well in a real browser, over a real server and a filled state folder."""

import csv
from collections.abc import Callable
from itertools import pairwise
from math import pi, sqrt
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import filled
import pytest
from browser import HOLD
from filled import AT, ODD, PLATE
from playwright.sync_api import Page, expect

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.store.reviewing import Selection, events

pytest_plugins = ["browser"]

LIVE_SECONDS = 2.0  # from the commit to the page
SLOWER = 5  # machines under test may be
Open = Callable[..., Page]


@pytest.fixture
def open_well(page: Page, address: str) -> Open:
    """Opens a well's page and waits for its film."""

    def opened(well: str = "A1", plate: str = PLATE, **more: object) -> Page:
        page.goto(f"{address}/well?{urlencode({'plate': plate, 'well': well, **more})}")
        expect(part(page, "where")).not_to_be_empty()
        return page

    return opened


@pytest.fixture
def logged_in(
    page: Page, serve_site: Callable[..., str], state: StateFolder, password_hash: str
) -> Page:
    """A1's page before somebody who may decide, at its last frame."""
    address = serve_site(state, password=password_hash)
    page.goto(f"{address}/well?{urlencode({'plate': PLATE, 'well': 'A1'})}")
    page.get_by_label("Your initials").fill("QA")
    page.get_by_label("Password").fill(filled.PASSWORD)
    page.keyboard.press("Enter")
    expect_frame(page, 8, 9, "14.0 h")
    return page


def part(page: Page, name: str) -> Any:
    return page.locator(f'[data-part="{name}"]')


def expect_frame(page: Page, place: int, total: int, hours: str) -> None:
    """The same frame everywhere: counter, strip, curve, numbers."""
    expect(part(page, "where")).to_have_text(f"{place} of {total}")
    current = page.locator(".strip [aria-current]")
    expect(current).to_have_count(1)
    expect(current).to_contain_text(hours)
    expect(current).to_be_in_viewport()
    expect(part(page, "numbers")).to_contain_text(hours)
    at = float(hours.removesuffix(" h"))
    page.wait_for_function(
        "at => document.querySelector('.curve').layout?.shapes[0]?.x0 === at", arg=at
    )
    expect(page.locator(".picture [aria-busy]")).to_have_count(0)


def number_of(page: Page, name: str) -> str:
    found: str = page.locator(".numbers div", has_text=name).first.locator("dd").inner_text()
    return found


def measure_next(state: StateFolder, frame: int) -> None:
    """Another frame of A1, as the daemon would record it."""
    with Database(state.database) as database:
        Ledger(database).claim("segmented", AT)  # C3's, which waits; or it would be taken for ours
        filler = filled.Filler(state, database)
        filler.measured(PLATE, "A1", frame, areas=[4000.0])


def test_one_walks_through_the_film_by_keys(open_well: Open) -> None:
    page = open_well()
    expect_frame(page, 8, 9, "14.0 h")  # the last one that is measured; the ninth failed
    area_px = 1000.0 * 1.15**8
    assert number_of(page, "area") == f"{4 * area_px:,.0f} µm²"
    assert number_of(page, "diameter") == f"{2 * sqrt(4 * area_px / pi):.1f} µm"
    assert number_of(page, "of the first") == "266.0 %"
    expect(part(page, "numbers")).to_contain_text("solidity")
    assert number_of(page, "solidity") == "0.970"
    assert number_of(page, "pipeline") == "mask"
    expect(part(page, "features")).to_contain_text("Intensity_MeanIntensity_Original")
    kinds = "all => all.map((one) => one.dataset.kind).sort()"
    assert part(page, "story").locator("li").evaluate_all(kinds) == [
        "batch", "measurement", "segmentation", "step", "step", "step", "step"
    ]  # fmt: skip
    expect(part(page, "story")).to_contain_text("u2netp · on CPU · 0.4 s")

    page.keyboard.press("ArrowLeft")
    expect_frame(page, 7, 9, "12.0 h")
    image = page.locator(".strip [aria-current]").get_attribute("data-frame")
    page.wait_for_url(f"**image={image}")
    page.keyboard.press("End")
    expect_frame(page, 9, 9, "16.0 h")
    expect(page.locator(".picture")).to_contain_text("It is cut short.")
    expect(part(page, "story").locator("[data-failed]")).to_contain_text("It is cut short.")
    page.keyboard.press("Home")
    expect_frame(page, 1, 9, "0.0 h")
    page.locator(".strip button").nth(2).click()
    expect_frame(page, 3, 9, "4.0 h")
    expect(part(page, "previous")).to_be_hidden()
    part(page, "next").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("› A2")


def test_it_plays_to_the_end_and_finds_what_is_flagged(open_well: Open, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    open_well("A2")
    page.get_by_label("Speed").select_option(label="20 a second")
    page.keyboard.press("Home")
    play = part(page, "play")
    play.click()
    expect(play).to_have_text("Pause")
    expect(part(page, "where")).to_have_text("8 of 8")
    expect(play).to_have_text("Play")
    page.keyboard.press("f")  # the flagged ones, in a circle
    expect_frame(page, 4, 8, "6.0 h")
    # |ln| of 0.41: half as much again
    expect(part(page, "flags")).to_contain_text("area jump The area is off by a factor of 1.5")
    expect(page.locator(".strip [aria-current] .flag-symbol")).to_have_count(1)
    page.keyboard.press("f")
    expect_frame(page, 6, 8, "10.0 h")
    page.keyboard.press("f")
    expect_frame(page, 4, 8, "6.0 h")

    # Nobody may decide without a password, and nothing pretends so.
    expect(page.get_by_role("button", name="Exclude")).to_be_disabled()
    page.keyboard.press("c")
    expect(part(page, "notice")).to_contain_text("Looking is free here")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("play, pause")


def test_the_curve_chooses_frames_and_is_downloaded(open_well: Open, tmp_path: Path) -> None:
    page = open_well("A12")  # the third frame is excluded
    expect_frame(page, 8, 8, "14.0 h")
    names = "() => document.querySelector('.curve').data.map((trace) => trace.name)"
    assert page.evaluate(names) == ["area", "excluded", "this frame"]
    expect(page.locator(".strip [data-excluded]")).to_have_count(1)
    place = page.evaluate("""() => {
      const curve = document.querySelector(".curve");
      curve.scrollIntoView({ block: "center" });
      const { xaxis, yaxis } = curve._fullLayout;
      const { left, top } = curve.getBoundingClientRect();
      const { x, y } = curve.data[1];
      return [left + xaxis._offset + xaxis.d2p(x[0]), top + yaxis._offset + yaxis.d2p(y[0])];
    }""")
    page.mouse.move(*place)
    expect(page.locator(".hoverlayer")).to_contain_text("excluded")
    page.mouse.click(*place)
    expect_frame(page, 3, 8, "4.0 h")
    expect(page.locator(".picture .stamp")).to_have_text("excluded")
    expect(part(page, "word")).to_contain_text("Ada excluded this: a bubble")
    page.keyboard.press("l")
    page.wait_for_function("document.querySelector('.curve').layout.yaxis.type === 'log'")

    for ending in ("csv", "svg", "png"):
        with page.expect_download() as downloading:
            page.locator(f'[data-save="{ending}"]').click()
        downloading.value.save_as(tmp_path / f"curve.{ending}")
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["excluded"] for row in rows] == ["0", "0", "1", "0", "0", "0", "0", "0"]
    assert float(rows[0]["area_um2"]) == pytest.approx(4 * 1.1 * 1150)
    assert "area (µm²)" in (tmp_path / "curve.svg").read_text()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_measured_now_is_followed(open_well: Open, state: StateFolder) -> None:
    page = open_well()
    expect_frame(page, 8, 9, "14.0 h")
    measure_next(state, 10)
    expect(part(page, "where")).to_have_text("10 of 10", timeout=1000 * LIVE_SECONDS * SLOWER)
    expect_frame(page, 10, 10, "18.0 h")
    page.keyboard.press("Home")
    expect_frame(page, 1, 10, "0.0 h")
    measure_next(state, 11)
    expect(page.locator(".strip li")).to_have_count(11)
    expect_frame(page, 1, 11, "0.0 h")  # who looks at another frame is left alone


def test_times_are_told_anew_when_an_earlier_image_comes(
    open_well: Open, state: StateFolder
) -> None:
    page = open_well()
    expect_frame(page, 8, 9, "14.0 h")
    measure_next(state, 0)
    expect(part(page, "where")).to_have_text("9 of 10")
    expect_frame(page, 9, 10, "16.0 h")


def test_a_film_paused_while_a_picture_comes_goes_on_at_its_speed(
    open_well: Open, page: Page
) -> None:
    page.add_init_script(HOLD)
    open_well()
    page.get_by_label("Speed").select_option(label="2 a second")
    page.keyboard.press("Home")
    expect_frame(page, 1, 9, "0.0 h")
    play, where = part(page, "play"), part(page, "where")
    page.evaluate("hold()")
    play.click()
    expect(where).to_have_text("2 of 9")
    play.click()
    play.click()
    expect(where).to_have_text("3 of 9")
    page.evaluate("""() => {
      const where = document.querySelector('[data-part="where"]');
      const steps = window.steps = new Map(); // place → when it was shown
      new MutationObserver(() => {
        const place = where.textContent;
        if (!steps.has(place)) steps.set(place, performance.now());
      }).observe(where, { childList: true });
      letGo();
    }""")
    expect(where).to_have_text("9 of 9")
    times = page.evaluate("[...steps.values()]")
    gaps = [after - before for before, after in pairwise(times)]
    assert len(gaps) >= 3
    assert min(gaps) > 400


def test_the_theme_is_known_before_there_is_anything_to_draw(open_well: Open, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.add_init_script("""
      new MutationObserver((_, watching) => {
        if (!document.body) return;
        watching.disconnect();
        window.first = document.documentElement.dataset.theme ?? "none yet";
      }).observe(document, { childList: true, subtree: true });
    """)
    open_well()
    assert page.evaluate("window.first") == "dark"


def test_fields_are_films_of_their_own_and_any_name_is_shown(open_well: Open) -> None:
    page = open_well("B1")
    expect_frame(page, 8, 8, "14.0 h")
    assert number_of(page, "area in pixels") == f"{500 + 1000 * 1.15**8:,.0f} px"
    part(page, "series").select_option(label="field 2")
    expect(part(page, "numbers")).to_contain_text(f"{1000 + 1000 * 1.15**8:,.0f} px")
    open_well("right/1", ODD)
    expect(page.get_by_role("heading", level=1)).to_contain_text('Plate \\xe9/№2 "x" <b>&amp;</b>')
    expect(page.locator("h1 b")).to_have_count(0)
    assert number_of(page, "area") == "940 px", "its pixels have no size"


def test_a_frame_is_linked_to_and_a_lost_picture_is_said(
    open_well: Open, state: StateFolder
) -> None:
    with Database(state.database) as database:
        first, second = (
            row["id"]
            for row in database.rows("SELECT id FROM images WHERE well = 'H1' ORDER BY id LIMIT 2")
        )
    page = open_well("H1", image=second)
    expect_frame(page, 2, 8, "2.0 h")
    expect(page.locator(".picture")).to_contain_text("can't be loaded")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".picture")).to_contain_text("no outline picture")
    page.wait_for_url(f"**image={first}")


def test_a_frame_is_settled_from_here(logged_in: Page, state: StateFolder) -> None:
    page = logged_in
    page.keyboard.press("x")
    page.keyboard.press("3")
    expect(part(page, "notice")).to_have_text("Excluded.")
    expect(part(page, "word")).to_contain_text("QA excluded this: bubble")
    expect(page.locator(".strip [data-excluded]")).to_have_count(1)
    page.keyboard.press("r")
    expect(part(page, "notice")).to_have_text("Restored.")
    expect(page.locator(".strip [data-excluded]")).to_have_count(0)
    page.get_by_role("button", name="Confirm").click()
    expect(part(page, "notice")).to_have_text("Confirmed.")
    expect(page.locator(".picture .stamp")).to_have_text("confirmed")
    page.keyboard.press("u")
    expect(part(page, "notice")).to_have_text("Undone.")
    expect(page.locator(".picture .stamp")).to_be_hidden()
    with Database(state.database) as database:
        made = events(database, Selection(PLATE, "A1"))
    assert [(event["who"], event["action"]) for event in made] == [
        ("QA", action) for action in ("exclude", "restore", "confirm", "restore")
    ]


def made(state: StateFolder) -> list[str]:
    with Database(state.database) as database:
        return [event["action"] for event in events(database, Selection(PLATE, "A1"))]


def test_a_question_is_asked_once_and_of_the_frame_on_the_screen(
    logged_in: Page, state: StateFolder
) -> None:
    page = logged_in
    exclude, reasons = page.get_by_role("button", name="Exclude").first, part(page, "reasons")
    exclude.click()
    expect(reasons.get_by_role("button", name="out of focus")).to_be_focused()
    exclude.click()
    page.keyboard.press("Escape")
    expect(reasons).to_be_hidden()
    page.keyboard.press("ArrowLeft")  # the page's keys are back
    expect_frame(page, 7, 9, "12.0 h")

    page.keyboard.press("x")
    page.locator(".strip button").nth(2).click()
    expect_frame(page, 3, 9, "4.0 h")
    page.keyboard.press("1")
    expect(part(page, "notice")).to_contain_text("Another frame is shown by now")
    assert made(state) == []
    exclude.click()
    page.keyboard.press("1")
    expect(part(page, "notice")).to_have_text("Excluded.")
    page.keyboard.press("r")  # though the button that had the focus can't be pressed any more
    expect(part(page, "notice")).to_have_text("Restored.")
    assert made(state) == ["exclude", "restore"]


def test_what_is_not_on_the_screen_is_not_settled(logged_in: Page, state: StateFolder) -> None:
    page = logged_in
    page.add_init_script(HOLD)
    page.reload()
    expect_frame(page, 8, 9, "14.0 h")
    picture = page.locator(".picture")
    page.evaluate("hold()")
    page.keyboard.press("ArrowLeft")
    expect(picture).to_contain_text("on its way")
    expect(picture.locator("img")).to_be_hidden()
    page.keyboard.press("c")
    expect(part(page, "notice")).to_contain_text("not on the screen yet")
    page.evaluate("letGo()")
    expect(picture.locator("img")).to_be_visible()
    page.keyboard.press("c")
    expect(part(page, "notice")).to_have_text("Confirmed.")
    assert made(state) == ["confirm"]


def test_what_was_lost_is_not_said_to_be_undone(logged_in: Page, state: StateFolder) -> None:
    page = logged_in
    page.evaluate("""() => {
      const notice = document.querySelector('[data-part="notice"]');
      const watching = new MutationObserver(() => said.push(notice.textContent));
      window.said = [];
      watching.observe(notice, { childList: true });
    }""")
    page.evaluate("""() => {
      const real = window.fetch;
      window.fetch = async (address, ...rest) => {
        if (!address.endsWith("/api/v1/review")) return real(address, ...rest);
        await new Promise((done) => { window.letGo = done; });
        throw new TypeError("the line is cut");
      };
    }""")
    page.keyboard.press("c")
    page.wait_for_function("() => Boolean(window.letGo)")
    page.keyboard.press("u")
    page.evaluate("letGo()")
    expect(part(page, "notice")).to_contain_text("The server gave no answer")
    assert page.evaluate("said.length") == 1
    assert made(state) == []
