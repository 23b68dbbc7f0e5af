"""How open pages hear of what happens: the connection that all of them share."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from filled import PASSWORD, PLATE
from playwright.sync_api import Page, Route, expect

from spheroidd.store.folder import StateFolder

pytest_plugins = ["browser"]

EVENTS = "**/api/v1/live*"
SEEN = """seen => {
  Object.defineProperty(document, "hidden", { value: !seen, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_nobody_sees_lets_go(page: Page, address: str) -> None:
    """A browser has six connections to a server, for all its tabs."""
    with page.expect_request(EVENTS):
        page.goto(f"{address}/plate?plate={quote(PLATE, safe='')}")
    expect(page.locator("[data-ready]")).to_be_attached()
    with page.expect_event("requestfailed", lambda request: "/live" in request.url):
        page.evaluate(SEEN, arg=False)
    with page.expect_request(EVENTS), page.expect_request("**/api/v1/plate?*"):
        page.evaluate(SEEN, arg=True)  # and is brought up to date


def test_a_login_that_has_ended_is_asked_for_again(
    page: Page, serve_site: Callable[..., str], state: StateFolder, password_hash: str
) -> None:
    address = serve_site(state, password=password_hash)
    page.goto(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Initials").fill("AL")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    another = page.context.new_page()
    another.goto(address)
    another.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{address}/login?next=%2F")


@pytest.fixture
def tell(page: Page) -> Callable[..., None]:
    """Has the overview be told this, once, in place of what the server says."""

    def told(html: str) -> None:
        event = f"event: status\ndata: {json.dumps({'html': html})}\n\n"

        def answer(route: Route) -> None:
            route.fulfill(body=event, content_type="text/event-stream")

        page.route(EVENTS, answer, times=1)
        page.evaluate(SEEN, arg=False)
        page.evaluate(SEEN, arg=True)

    return told


def test_a_plate_that_has_finished_moves_to_the_others(
    page: Page, address: str, tell: Callable[..., None]
) -> None:
    page.goto(address)
    expect(page.locator("#now [data-plate]")).to_have_count(1)
    with page.expect_navigation():
        tell("<p>None is running any more.</p>")
    expect(page.locator("#now [data-plate]")).to_have_count(1)


def test_what_one_is_at_stays(page: Page, address: str, tell: Callable[..., None]) -> None:
    page.goto(address)
    summary = page.locator("#now summary")
    expect(summary).to_have_count(1)
    summary.press("Enter")
    same = page.locator("#now").inner_html()
    tell(same + "<p>And something new.</p>")
    expect(page.get_by_text("And something new.")).to_be_visible()
    expect(summary).to_be_focused()
    expect(page.locator("#now details")).to_have_attribute("open", "")
    summary.hover()
    page.mouse.down()
    tell(same + "<p>Later.</p>")
    page.wait_for_timeout(500)
    expect(page.get_by_text("Later.")).to_have_count(0)
    page.mouse.up()
    expect(page.get_by_text("Later.")).to_be_visible()
    expect(page.locator("#now details")).not_to_have_attribute("open", "")
