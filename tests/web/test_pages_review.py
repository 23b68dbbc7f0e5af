"""The review queue in a real browser, over a real server and a filled state folder."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import filled
import pytest
from browser import HOLD
from filled import AT, PLATE
from playwright.sync_api import Page, Route, expect

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.reviewing import Selection, events
from spheroidd.store.reviews import Reviews, Subject

pytest_plugins = ["browser"]

LIVE_SECONDS = 2.0  # from the commit to the page
ALL = 10  # that wait: two of A2, eight of the empty well
WORST, SECOND = "10.0 h", "6.0 h"  # of A2; three objects, and a jump
Open = Callable[..., Page]


@pytest.fixture
def queue(
    page: Page, serve_site: Callable[..., str], state: StateFolder, password_hash: str
) -> Callable[[], Page]:
    """Logs in and opens the queue."""

    def opened(query: str = "") -> Page:
        address = serve_site(state, password=password_hash)
        page.goto(f"{address}/review{query}")
        page.get_by_label("Your initials").fill("QA")
        page.get_by_label("Password").fill(filled.PASSWORD)
        page.keyboard.press("Enter")
        expect(part(page, "where")).not_to_be_empty()
        return page

    return opened


def part(page: Page, name: str) -> Any:
    return page.locator(f'[data-part="{name}"]')


def expect_shown(page: Page, place: object, total: object, title: str = "") -> None:
    expect(part(page, "where")).to_have_text(f"{place} of {total}")
    expect(part(page, "title")).to_contain_text(title)
    expect(page.locator(".picture [aria-busy]")).to_have_count(0)


def settled(page: Page, state: StateFolder) -> list[tuple[str, str, str, int | None]]:
    """Who settled what since the folder was filled, why, and which object is the spheroid."""
    expect(page.locator("#review:not([data-sending])")).to_be_attached()
    with Database(state.database) as database:
        found = events(database, Selection())[2:]
    return [
        (event["who"], event["action"], event["reason"], event["images"][0]["object_number"])
        for event in found
    ]


def measured(state: StateFolder, well: str, timepoint: int) -> Subject:
    with Database(state.database) as database:
        [row] = database.rows(
            "SELECT i.id, m.id AS measurement FROM images i JOIN measurements m"
            " ON m.image_id = i.id AND m.current WHERE i.plate = :plate AND i.well = :well"
            " AND i.timepoint = :timepoint",
            {"plate": PLATE, "well": well, "timepoint": timepoint},
        )
    return Subject(row["id"], row["measurement"])


def change(state: StateFolder, sql: str, *values: object) -> None:
    with Database(state.database) as database, database.write() as writing:
        writing.execute(sql, values)


def test_the_worst_comes_first_with_all_that_is_known_of_it(queue: Open) -> None:
    page = queue(f"?plate={PLATE.replace(' ', '+')}")
    expect(page.get_by_label("Plate")).to_have_value(PLATE)
    expect_shown(page, 1, ALL, WORST)
    flags = part(page, "flags")
    # |ln| of 0.9 is a factor of 2.5
    expect(flags).to_contain_text("The area is off by a factor of 2.5")
    expect(flags).to_contain_text("Another object has 300\u00a0% of the spheroid's area")
    expect(part(page, "around")).to_contain_text("before: 8.0 h, 7,241 µm²")
    expect(part(page, "around")).to_contain_text("after: 12.0 h, 9,576 µm²")
    expect(page.locator("svg.small-curve circle.here")).to_be_attached()
    picture = page.locator('[data-part="picture"] img')
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == filled.SIZE[0]

    page.keyboard.press("p")
    expect(part(page, "notice")).to_contain_text("first one")
    page.keyboard.press("n")
    expect_shown(page, 2, ALL, SECOND)
    page.keyboard.press("ArrowRight")
    expect_shown(page, 3, ALL, "H12")  # wells that are simply empty come last
    page.keyboard.press("ArrowLeft")
    expect_shown(page, 2, ALL, SECOND)

    page.get_by_label("Flag").select_option(label="several objects")
    expect_shown(page, 1, 1, WORST)
    assert "flag=several_objects" in page.url
    page.get_by_label("Flag").select_option(label="double frame")
    expect(page.get_by_role("heading", name="Nothing waits for a look.")).to_be_visible()
    page.get_by_label("Plate").select_option(label="all")
    page.get_by_label("Flag").select_option(label="all")
    expect_shown(page, 1, ALL, WORST)


def test_each_decision_is_one_key_and_the_record_that_the_command_line_makes(
    queue: Open, state: StateFolder
) -> None:
    page = queue()
    expect_shown(page, 1, ALL, WORST)
    page.keyboard.press("o")
    marks = page.locator(".over .mark")
    expect(marks).to_have_count(3)
    left = marks.first.evaluate("mark => parseFloat(mark.style.left)")
    assert left == pytest.approx(100 * 140.5 / filled.SIZE[0], abs=0.01)  # its centre
    page.keyboard.press("2")
    expect_shown(page, 1, ALL - 1, SECOND)
    page.get_by_role("button", name="Confirm").click()
    expect_shown(page, 1, ALL - 2, "H12")
    page.keyboard.press("x")
    page.keyboard.press("2")
    expect_shown(page, 1, ALL - 3, "H12")
    page.keyboard.press("x")
    expect(part(page, "panel")).to_be_visible()
    page.keyboard.press("Escape")  # thought better of it
    expect(part(page, "panel")).to_be_hidden()
    page.get_by_role("button", name="QA", exact=True).click()
    page.get_by_label("Your name or initials").fill("Bea")
    page.keyboard.press("Enter")
    expect(part(page, "who")).to_have_text("Bea")
    page.keyboard.press("x")
    page.keyboard.press("6")
    page.keyboard.type("hair on the lens")
    page.keyboard.press("Enter")
    expect_shown(page, 1, ALL - 4, "H12")
    page.keyboard.press("0")
    expect_shown(page, 1, ALL - 5, "H12")
    made = [
        ("QA", "choose", "", 2),
        ("QA", "confirm", "", 1),
        ("QA", "exclude", "debris", None),
        ("Bea", "exclude", "hair on the lens", None),
        ("Bea", "choose", "", None),
    ]
    assert settled(page, state) == made

    undone = ("no spheroid there", "excluded (hair on", "excluded (debris", "confirmed", "object 2")
    for number, words in enumerate(undone):
        page.keyboard.press("u")
        expect(part(page, "notice")).to_contain_text(f"Undone: {words}")
        expect(part(page, "where")).to_have_text(f"1 of {ALL - 4 + number}")
    expect_shown(page, 1, ALL, WORST)
    expect(part(page, "title")).to_contain_text("8,327 µm²")
    page.keyboard.press("u")
    expect(part(page, "notice")).to_contain_text("Nothing was decided")
    assert [event[1] for event in settled(page, state)[5:]] == ["restore"] * 5
    with Database(state.database) as database:
        left_over = database.rows("SELECT id FROM measurements WHERE decision IS NOT NULL", {})
    assert len(left_over) == 1, "Ada's"


def test_what_is_refused_or_lost_comes_back_with_the_reason(
    queue: Open, state: StateFolder
) -> None:
    page = queue()
    expect_shown(page, 1, ALL, WORST)
    # Another number of the same measurement, of which the page does not hear.
    change(state, "UPDATE measurements SET area_um2 = 4444, area_px = 1111 WHERE id = ?",
           measured(state, "A2", 6).measurement_id)  # fmt: skip
    page.keyboard.press("c")
    expect(part(page, "notice")).to_contain_text("judged anew since it was looked at")
    expect(part(page, "title")).to_contain_text("4,444 µm²")
    expect_shown(page, 1, ALL, WORST)

    def lose(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/review", lose)
    page.keyboard.press("c")
    expect(part(page, "notice")).to_contain_text("The server gave no answer")
    expect_shown(page, 1, ALL, WORST)
    assert settled(page, state) == []
    page.unroute("**/api/v1/review")
    page.keyboard.press("c")
    expect_shown(page, 1, ALL - 1, SECOND)
    assert [event[1] for event in settled(page, state)] == ["confirm"]


def test_nothing_is_decided_about_a_picture_that_was_not_seen(
    queue: Open, page: Page, state: StateFolder
) -> None:
    page.add_init_script(HOLD)
    queue()
    expect_shown(page, 1, ALL, WORST)
    picture = page.locator('[data-part="picture"]')
    page.evaluate("hold()")
    page.keyboard.press("n")
    expect(part(page, "where")).to_have_text(f"2 of {ALL}")
    expect(picture).to_contain_text("on its way")
    expect(picture.locator("img")).to_be_hidden()
    for key in "cxo0":
        page.keyboard.press("u")
        expect(part(page, "notice")).to_contain_text("Nothing was decided in this visit")
        page.keyboard.press(key)
        expect(part(page, "notice")).to_contain_text("not on the screen yet")
    assert settled(page, state) == []
    page.evaluate("letGo()")
    expect_shown(page, 2, ALL, SECOND)
    page.keyboard.press("c")
    expect_shown(page, 2, ALL - 1, "H12")
    page.route("**/outline?*", lambda route: route.abort())
    page.reload()
    expect(picture).to_contain_text("can't be loaded")
    page.keyboard.press("c")  # there is nothing more to wait for
    expect_shown(page, 1, ALL - 2, "H12")
    assert [event[1] for event in settled(page, state)] == ["confirm", "confirm"]


def test_what_is_on_the_screen_stays_there_when_the_queue_is_told_anew(
    queue: Open, page: Page, state: StateFolder
) -> None:
    page.add_init_script(HOLD)
    queue()
    expect_shown(page, 1, ALL, WORST)
    page.evaluate("hold()")
    with page.expect_response("**/api/v1/review?*"):
        page.get_by_label("Flag").select_option("area_jump")
    expect(part(page, "where")).not_to_have_text(f"1 of {ALL}")
    page.wait_for_timeout(300)
    expect(page.locator('[data-part="picture"] img')).to_be_visible()


def test_objects_are_chosen_by_keyboard_alone(queue: Open, page: Page, state: StateFolder) -> None:
    def twelve(route: Route) -> None:
        answer = route.fetch().json()
        objects = answer["rows"][0]["objects"]
        objects += [{**objects[0], "number": number, "is_spheroid": 0} for number in range(4, 13)]
        route.fulfill(json=answer)

    page.route("**/api/v1/review?*", twelve)
    queue()
    expect_shown(page, 1, ALL, WORST)
    choose, choices = page.get_by_role("button", name="Other object"), part(page, "panel")
    choose.focus()
    page.keyboard.down("Enter")
    expect(choices.get_by_role("button").first).to_be_focused()
    page.keyboard.down("Enter")  # held a little long
    page.keyboard.up("Enter")
    expect(choices).to_be_visible()
    page.keyboard.press("Escape")
    expect(choices).to_be_hidden()
    expect(choose).to_be_focused()

    page.keyboard.press("Enter")
    expect(choices.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_shown(page, 1, ALL - 1, SECOND)
    expect(choose).to_be_focused()
    assert settled(page, state) == [("QA", "choose", "", 2)]

    exclude = page.get_by_role("button", name="Exclude")
    exclude.press("Enter")
    expect(choices.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(exclude).to_be_focused()

    page.keyboard.press("u")
    expect_shown(page, 1, ALL, WORST)
    page.keyboard.press("o")
    expect(choices.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("1")  # or is it the first digit of 10?
    page.keyboard.press("Enter")
    expect_shown(page, 1, ALL - 1, SECOND)
    assert settled(page, state)[2:] == [("QA", "choose", "", 1)]


def test_the_frame_stays_while_a_question_about_it_is_on_its_way(queue: Open) -> None:
    page = queue()
    expect_shown(page, 1, ALL, WORST)
    page.evaluate("""() => {
      const real = window.fetch;
      window.fetch = async (address, ...rest) => {
        if (/images\\/\\d+$/.test(address)) await new Promise((done) => { window.letGo = done; });
        return real(address, ...rest);
      };
    }""")
    page.keyboard.press("o")
    page.wait_for_function("() => Boolean(window.letGo)")
    page.keyboard.press("n")
    expect(part(page, "notice")).to_contain_text("A question is open")
    page.evaluate("letGo()")
    expect(page.locator(".over .mark")).to_have_count(3)
    expect_shown(page, 1, ALL, WORST)
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect_shown(page, 2, ALL, SECOND)
    expect(page.locator(".over .mark")).to_have_count(0)


def test_one_walks_through_more_than_the_server_sends_at_once(queue: Open, page: Page) -> None:
    total, most, asked = 1050, 1000, []

    def many(route: Route) -> None:
        asked.append(int(parse_qs(urlsplit(route.request.url).query)["limit"][0]))
        first = route.fetch().json()["rows"][0]
        rows = [
            {**first, "image_id": number, "measurement_id": number, "outline": False}
            for number in range(1, min(asked[-1], total) + 1)
        ]
        route.fulfill(json={"rows": rows, "total": total})

    page.route("**/api/v1/review?*", many)
    queue()
    expect_shown(page, 1, "1,050")
    page.evaluate("""async () => {
      const where = document.querySelector('[data-part="where"]');
      const end = performance.now() + 30_000;
      for (let n = 0; performance.now() < end && !where.textContent.startsWith("1,000"); n += 1) {
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "n" }));
        if (n % 10 === 0) await new Promise((done) => setTimeout(done, 10));
      }
    }""")
    page.keyboard.press("n")
    expect_shown(page, "1,000", "1,050")
    expect(part(page, "notice")).to_contain_text("Of 1,050 the worst 1,000 are here")
    assert max(asked) == most


def test_what_comes_does_not_move_what_is_looked_at(queue: Open, state: StateFolder) -> None:
    page = queue()
    expect_shown(page, 1, ALL, WORST)
    page.keyboard.press("n")
    expect_shown(page, 2, ALL, SECOND)
    worse = measured(state, "A1", 3)
    change(
        state,
        "UPDATE measurements SET flags = 'area_jump,shape_jump,low_focus' WHERE id = ?",
        worse.measurement_id,
    )
    expect(part(page, "where")).to_have_text(f"2 of {ALL + 1}", timeout=10_000 * LIVE_SECONDS)
    expect(part(page, "title")).to_contain_text(SECOND)
    page.keyboard.press("n")  # it is worse than all that was not looked at yet
    expect_shown(page, 3, ALL + 1, "A1")
    page.keyboard.press("p")
    # Somebody else settles what is looked at: it stays, and says so.
    with Database(state.database) as database:
        Reviews(database).confirm([measured(state, "A2", 4)], AT, who="Bea")
    expect(part(page, "notice")).to_contain_text("settled or judged anew meanwhile")
    expect(part(page, "title")).to_contain_text(SECOND)


def test_without_a_password_one_may_look_but_not_decide(
    page: Page, address: str, state: StateFolder
) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{address}/review")
    expect_shown(page, 1, ALL, WORST)
    expect(page.get_by_text("Looking is free here")).to_be_visible()
    expect(page.get_by_role("button", name="Confirm")).to_be_disabled()
    page.keyboard.press("c")
    expect(part(page, "notice")).to_contain_text("Looking is free here")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text(re.compile("exclude: .*reason"))
    keys.get_by_label("no single-letter keys").check()
    keys.get_by_role("button", name="Close").click()
    page.keyboard.press("n")
    expect_shown(page, 1, ALL, WORST)
    page.keyboard.press("ArrowRight")  # not a letter
    expect_shown(page, 2, ALL, SECOND)
    assert settled(page, state) == []
