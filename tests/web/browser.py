"""A real browser before a real server. Test modules name it: `pytest_plugins = ["browser"]`.

browser         headless Chromium, one for each module; skips where there is none
serve_site      starts a real uvicorn server over a state folder; gives its address
address         of a server over the test's own copy of the filled state, without a password
page            a fresh page; the test fails if anything on it went wrong unseen

PYTEST_DONT_REWRITE: modules that import from it have imported it before it becomes a plugin.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import filled
import pytest
import structlog
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from spheroidd.store.folder import StateFolder
from spheroidd.web.app import Settings, create_app
from spheroidd.web.serving import listen

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
START_SECONDS = 30
expect.set_options(timeout=20_000)  # of a machine that has much else to do
ServeSite = Callable[..., str]
# Pictures take until `letGo()` to decode, once `hold()` was called.
HOLD = """
const decode = HTMLImageElement.prototype.decode;
HTMLImageElement.prototype.decode = async function () {
  await window.held;
  return decode.call(this);
};
window.hold = () => { window.held = new Promise((done) => { window.letGo = done; }); };
"""


def chromium() -> str | None:
    """Where it is; `CHROMIUM` says so, or it is found."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")  # while it is there, this thread has an event loop running
def browser() -> Iterator[Browser]:
    found = chromium()
    if found is None:
        pytest.skip("Chromium is not here (set CHROMIUM to where it is)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture
def serve_site() -> Iterator[ServeSite]:
    """Call it with a state folder and, if wanted, more of `Settings`."""
    with contextlib.ExitStack() as running:

        def serve(state: StateFolder, **settings: object) -> str:
            return running.enter_context(_served(Settings(state, **settings)))  # type: ignore[arg-type]

        yield serve


@contextlib.contextmanager
def _served(settings: Settings) -> Iterator[str]:
    app = create_app(settings, structlog.get_logger(), lambda: filled.AT)
    with contextlib.closing(listen("127.0.0.1", 0)) as opened:
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()  # who asks too early waits in the socket's queue
        try:
            opened.listen()
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            app.state.site.live.let_go()
            server.should_exit = True
            thread.join(START_SECONDS)


@pytest.fixture
def address(serve_site: ServeSite, state: StateFolder) -> str:
    return serve_site(state)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900},
        locale="en-GB",
        timezone_id="UTC",
        color_scheme="light",
        accept_downloads=True,
    )
    wrong: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # An answer of 401, 404 or 409 may be what the test is about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    opened = context.new_page()
    opened.set_default_timeout(20_000)
    opened.on("console", note)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert not wrong, "the page said: " + "; ".join(wrong)
