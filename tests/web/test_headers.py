"""What every answer carries, and what is answered where a route fails."""

import json
import re
from pathlib import Path
from typing import Any

import filled
import pytest
import structlog
from fastapi import FastAPI
from starlette.responses import Response, StreamingResponse
from starlette.testclient import TestClient

from spheroidd.store.folder import StateFolder
from spheroidd.web import headers
from spheroidd.web.app import Settings, create_app

WEB = Path(headers.__file__).parent
SECRET = "correct horse battery"
PLATE = {"plate": filled.PLATE}


def policy(response: Any) -> dict[str, str]:
    parts = response.headers["content-security-policy"].split("; ")
    return {name: rest for name, _, rest in (part.partition(" ") for part in parts)}


POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


def test_every_answer_carries_them(client: TestClient) -> None:
    for path in (
        "/", "/login", "/review", "/api/v1/plates", "/api/v1/openapi.json", "/static/base.css",
        "/static/plotly.min.js", "/nothing/here", "/api/v1/nothing", "/plate", "/api/v1/growth",
    ):  # fmt: skip
        asked = PLATE if path == "/plate" else {}
        response = client.get(path, params=asked, follow_redirects=False)
        said = response.headers
        assert said["x-content-type-options"] == "nosniff", path
        assert said["x-frame-options"] == "DENY", path
        assert said["referrer-policy"] == "same-origin", path
        assert said["cross-origin-opener-policy"] == "same-origin", path
        assert said["cross-origin-resource-policy"] == "same-origin", path
        assert "camera=()" in said["permissions-policy"], path
        assert "cache-control" in said, path
        assert "strict-transport-security" not in said, "over http it would be wrong"
        assert "access-control-allow-origin" not in said, path
        assert "server" not in said, path
        assert policy(response) == POLICY, path


def test_pages_and_answers_are_kept_by_nobody_else(client: TestClient) -> None:
    assert client.get("/").headers["cache-control"] == "private, no-cache"
    assert "private" in client.get("/api/v1/plates").headers["cache-control"]
    # A route's own word counts.
    versioned = client.get("/static/base.css?v=1").headers["cache-control"]
    assert versioned == "public, max-age=31536000, immutable"


def test_refusals_carry_them_too(client_with_password: TestClient) -> None:
    for response in (
        client_with_password.get("/api/v1/plates"),
        client_with_password.get("/", follow_redirects=False),
        client_with_password.get("/", headers={"Host": "evil.example"}),
        client_with_password.post("/login", content=b"x" * 100_000),
    ):
        assert response.headers["x-frame-options"] == "DENY", response.status_code
        assert policy(response)["default-src"] == "'none'"


def test_only_over_https_it_is_for_good(
    state: StateFolder, password_hash: str, captured_log: Any
) -> None:
    settings = Settings(state, password=password_hash, names=("spheroids.example",))
    app = create_app(settings, captured_log[0])
    client = TestClient(app, "http://spheroids.example", client=("127.0.0.1", 5))
    assert "strict-transport-security" not in client.get("/login").headers
    said = client.get("/login", headers={"X-Forwarded-Proto": "https"}).headers
    assert said["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "path", sorted(WEB.rglob("templates/*.html")), ids=lambda path: str(path.name)
)
def test_templates_hold_nothing_that_the_policy_forbids(path: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text), "a script in the page"
    assert not re.search(r"<style\b|\sstyle\s*=", text), "a style in the page"
    assert not re.search(r"\son\w+\s*=", text), "a handler in the page"
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?:https?:)?//", text), "from elsewhere"
    assert "|safe" not in text.replace(" ", ""), "not escaped"


# -- where a route fails ----------------------------------------------------------------------


@pytest.fixture
def failing(state: StateFolder, captured_log: Any) -> FastAPI:
    app = create_app(Settings(state), captured_log[0])

    def broken(what: str = "") -> Response:
        password = what  # a local variable that nobody may see
        raise RuntimeError(f"it broke after {len(password)} characters")

    def half() -> Response:
        def parts() -> Any:
            yield b"first half"
            raise RuntimeError("it broke half way")

        return StreamingResponse(parts())

    app.add_api_route("/api/v1/broken", broken)
    app.add_api_route("/broken", broken)
    app.add_api_route("/half", half)
    # They stand before what takes everything that is left.
    app.router.routes[:] = app.router.routes[-3:] + app.router.routes[:-3]
    return app


def test_a_failed_route_is_told_in_words_and_logged(failing: FastAPI, captured_log: Any) -> None:
    with TestClient(failing, "http://127.0.0.1:8765") as client:
        told = client.get("/api/v1/broken", params={"what": SECRET})
        page = client.get("/broken", params={"what": SECRET})
    assert (told.status_code, page.status_code) == (500, 500)
    assert told.json().keys() == {"error", "hint"}
    assert page.headers["content-type"].startswith("text/html")
    for response in (told, page):
        assert response.headers["x-frame-options"] == "DENY"
        assert "Traceback" not in response.text
        assert "it broke" not in response.text
        assert ".py" not in response.text
    lines = [line for line in captured_log[1] if line["event"] == "web request failed"]
    assert [(line["level"], line["path"]) for line in lines] == [
        ("error", "/api/v1/broken"),
        ("error", "/broken"),
    ]
    assert "it broke after 21 characters" in lines[0]["exception"]


def test_no_log_shows_local_variables(failing: FastAPI, capsys: Any) -> None:
    """On a terminal structlog shows those of an exception that it is given."""
    failing.state.site = type(failing.state.site)(
        **{**vars(failing.state.site), "log": structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer()],
        )}
    )  # fmt: skip
    with TestClient(failing, "http://127.0.0.1:8765") as client:
        client.get("/broken", params={"what": SECRET})
    shown = capsys.readouterr().out
    assert "it broke" in shown
    assert SECRET not in shown
    assert json.dumps(SECRET) not in shown


def test_an_answer_that_breaks_off_is_logged(failing: FastAPI, captured_log: Any) -> None:
    with TestClient(failing, "http://127.0.0.1:8765") as client:
        client.get("/half")
    [line] = [line for line in captured_log[1] if line["event"] == "web request failed"]
    assert "it broke half way" in line["exception"]


def test_scripts_make_no_markup_out_of_text() -> None:
    """The one exception takes what the server's templates have escaped."""
    making = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
        r"|setAttribute\([\"'](?:on|style)"
    )
    found = {(path.name, one) for path in WEB.glob("static/*.js")
             for one in making.findall(path.read_text())}  # fmt: skip
    assert found == {("overview.js", "innerHTML")}
