"""Nothing on the pages keeps people out: axe finds nothing serious, everywhere, light and dark.

And nothing is wider than a phone, and every page works without anything from elsewhere.
"""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from filled import ODD, PASSWORD, PLATE
from playwright.sync_api import Page, Request, expect

from spheroidd.store.folder import StateFolder

pytest_plugins = ["browser"]

KNOWN, FREE = quote(PLATE, safe=""), quote(ODD, safe="")
PAGES = {
    "overview": "/",
    "plate": f"/plate?plate={KNOWN}",
    "plate of free positions": f"/plate?plate={FREE}",
    "well": f"/well?plate={KNOWN}&well=A2",
    "empty well": f"/well?plate={KNOWN}&well=H12",
    "review": "/review",
    "about the API": "/about-api",
    "no such plate": "/plate?plate=nowhere",
}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def serious(page: Page) -> list[str]:
    """What axe says, as far as it is more than a wish."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:200]})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, address: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    wrong = {}
    for name, path in PAGES.items():
        page.goto(address + path, wait_until="load")
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        expect(page.get_by_text("Loading…")).to_have_count(0)
        if name.startswith("plate"):
            page.locator("[data-all]").click()
            expect(page.locator("[data-overlay] .main-svg").first).to_be_visible()
        if said := serious(page):
            wrong[name] = said
    assert not wrong


def test_the_login_page_too(page: Page, serve_site: Callable[..., str], state: StateFolder,
                            password_hash: str) -> None:  # fmt: skip
    address = serve_site(state, password=password_hash)
    page.goto(f"{address}/review")
    assert "/login" in page.url
    assert serious(page) == []
    page.get_by_label("Your initials").fill("AL")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/review")
    assert serious(page) == []


def test_nothing_is_wider_than_a_phone(page: Page, address: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for name, path in PAGES.items():
        page.goto(address + path, wait_until="load")
        expect(page.get_by_text("Loading…")).to_have_count(0)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], f"{name} is {wide} px wide"


def test_nothing_comes_from_elsewhere(page: Page, address: str) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    for path in PAGES.values():
        page.goto(address + path, wait_until="load")
    elsewhere = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
    assert not elsewhere
    assert any("plotly.min.js" in url for url in asked)
