"""What somebody who means harm would try, against the real application with every route it has."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import filled
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from PIL import Image as Pillow
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from made_up import NOW, admission
from spheroidd.intake.naming import natural_key
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.web import bodies, connection
from spheroidd.web.app import Settings, create_app
from spheroidd.web.connection import Patient

PASSWORD, TOKEN = "correct horse battery", "a-token-of-32-bytes-for-a-program"  # conftest's
COOKIE = "spheroidd-8765"
REVIEW = {"action": "confirm", "image_id": 1, "measurement_id": 1, "who": "AB"}
CANARY = "the canary sings outside"


@pytest.fixture(scope="module")
def password_hash() -> str:
    """As weak as may be, for tests that log in often."""
    return "scrypt$16384$8$1$YSBzYWx0IGZvciB0ZXN0cw==$Ap7YE3+302GKuNA0A4IPjrjfJWySgQvN1t2WaQVt4Sc="


def log_in(client: TestClient, **headers: str) -> str:
    """The session's CSRF token."""
    form = {"password": PASSWORD, "who": "AB"}
    done = client.post("/login", data=form, headers=headers, follow_redirects=False)
    assert done.status_code == 303, done.text
    page = client.get("/login-page-that-is-not-there").text
    return page.partition('name="csrf" content="')[2].partition('"')[0]


def routes(app: FastAPI) -> Iterator[tuple[str, str, Any]]:
    """Method, path with numbers for parameters, and FastAPI's context, of every route."""
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"\{[^}]*\}", "1", route.path or "")
        for method in sorted(route.methods or ()):
            yield method, path, route


# -- nothing is open by mistake ---------------------------------------------------------------

OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/static/plotly.min.js")}


def test_every_route_needs_a_login(client_with_password: TestClient) -> None:
    client = client_with_password
    app: Any = client.app
    seen = set()
    for method, path, _ in routes(app):
        seen.add((method, path))
        response = client.request(method, path, follow_redirects=False)
        if (method, path) in OPEN:
            continue
        if path.startswith("/api/"):
            assert response.status_code == 401, (method, path)
        else:
            assert response.status_code == 303, (method, path)
            assert response.headers["location"].startswith("/login?next="), (method, path)
    assert seen >= OPEN, "the exceptions are there"
    assert {("GET", "/"), ("GET", "/api/v1/openapi.json"), ("POST", "/api/v1/review")} <= seen
    assert len(seen) >= 20
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/static"]


PATHS = (
    "/static/../api/v1/plates", "/static/..%2fapi/v1/plates", "/static/%2e%2e/api/v1/plates",
    "//api/v1/plates", "/./api/v1/plates", "/login/../api/v1/plates", "/login;/api/v1/plates",
    "/login%00/api/v1/plates", "/LOGIN", "/api/v1/plates/", "/API/v1/plates", "/static",
)  # fmt: skip


def test_no_way_of_writing_a_path_gets_around_the_login(client_with_password: TestClient) -> None:
    for path in PATHS:
        response = client_with_password.get(path, follow_redirects=False)
        assert response.status_code in (303, 401, 404), path
        assert filled.PLATE not in response.text, path


def test_nothing_changes_without_the_pages_token(client_with_password: TestClient) -> None:
    client = client_with_password
    csrf = log_in(client)
    app: Any = client.app
    changing = [(m, p) for m, p, _ in routes(app) if m not in ("GET", "HEAD") and p != "/login"]
    assert ("POST", "/api/v1/review") in changing
    for method, path in changing:
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": csrf[:-1]}):
            response = client.request(method, path, json=REVIEW, headers=headers)
            assert response.status_code == 403, (method, path, headers)
    assert client.get("/api/v1/plates").status_code == 200, "still logged in"
    allowed = client.post("/api/v1/review", json={}, headers={"X-CSRF-Token": csrf})
    assert allowed.status_code == 422, "it came as far as its content"


def test_nobody_decides_where_there_is_no_password(client: TestClient) -> None:
    app: Any = client.app
    for method, path, _ in routes(app):
        if method not in ("GET", "HEAD"):
            response = client.request(method, path, json=REVIEW, follow_redirects=False)
            assert response.status_code in (403, 422), (method, path)
            assert "set-cookie" not in response.headers


ELSEWHERE: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
)


def test_another_sites_page_changes_nothing_even_with_cookie_and_token(
    client_with_password: TestClient,
) -> None:
    client = client_with_password
    csrf = log_in(client)
    form = {"password": PASSWORD, "who": "evil"}
    for headers in ELSEWHERE:
        stolen = {"X-CSRF-Token": csrf, **headers}
        assert client.post("/api/v1/review", json=REVIEW, headers=stolen).status_code == 403
        assert client.post("/logout", data={"csrf": csrf}, headers=headers).status_code == 403
        assert client.post("/login", data=form, headers=headers).status_code == 403
    assert client.get("/api/v1/plates").status_code == 200


def test_another_sites_page_can_not_even_ask(client: TestClient) -> None:
    """On loopback without a password, too: every page in the browser can reach it."""
    for mode in ("no-cors", "cors"):
        asked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert client.get("/api/v1/plates", headers=asked).status_code == 403
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/v1/review", headers=preflight)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_name_that_is_not_ours_gets_nothing(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "a b", "[::1"):
        for path in ("/", "/api/v1/plates", "/static/base.css", "/login"):
            response = client.get(path, headers={"Host": host}, follow_redirects=False)
            assert response.status_code == 421, (host, path)
            assert filled.PLATE not in response.text


def test_headers_that_proxies_write_change_nothing_here(client: TestClient) -> None:
    said = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
            "Forwarded": "host=evil.example", "X-Original-URL": "/api/v1/plates"}  # fmt: skip
    response = client.get("/", headers=said)
    assert response.status_code == 200
    assert "evil.example" not in response.text
    assert "strict-transport-security" not in response.headers


# -- sessions and secrets ---------------------------------------------------------------------


def test_a_session_that_somebody_planted_is_not_used(client_with_password: TestClient) -> None:
    client = client_with_password
    client.cookies.set(COOKIE, "planted-by-somebody")
    log_in(client)
    numbers = [cookie.value for cookie in client.cookies.jar if cookie.name == COOKIE]
    planted = {"Cookie": f"{COOKIE}=planted-by-somebody"}
    fresh = TestClient(client.app, "http://127.0.0.1:8765", client=("127.0.0.1", 5))
    assert fresh.get("/api/v1/plates", headers=planted).status_code == 401
    [number] = [value for value in numbers if value != "planted-by-somebody"]
    assert fresh.get("/api/v1/plates", headers={"Cookie": f"{COOKIE}={number}"}).status_code == 200


def test_a_new_login_ends_the_old_session(client_with_password: TestClient) -> None:
    client = client_with_password
    log_in(client)
    old = client.cookies[COOKIE]
    log_in(client)
    assert client.cookies[COOKIE] != old
    fresh = TestClient(client.app, "http://127.0.0.1:8765", client=("127.0.0.1", 5))
    kept = {"Cookie": f"{COOKIE}={old}"}
    assert fresh.get("/api/v1/plates", headers=kept).status_code == 401


def test_no_other_cookie_or_token_is_good(client_with_password: TestClient) -> None:
    client = client_with_password
    log_in(client)
    number = client.cookies[COOKIE]
    fresh = TestClient(client.app, "http://127.0.0.1:8765", client=("127.0.0.1", 5))
    wrong = [number[:-1], number + "A", number.swapcase(), "", "' OR 1=1 --", "%00", number * 50]
    for cookie in [f"{COOKIE}={one}" for one in wrong] + [f"__Host-{COOKIE}={number}"]:
        assert fresh.get("/api/v1/plates", headers={"Cookie": cookie}).status_code == 401, cookie
    for token in ("", PASSWORD, TOKEN[:-1], number):
        bearer = {"Authorization": f"Bearer {token}"}
        answer = client.get("/api/v1/plates", headers=bearer)
        assert answer.status_code in (401, 429), "a wrong token counts, whatever cookie there is"


def test_guessing_is_slowed_down_and_the_right_password_waits_as_well(
    client_with_password: TestClient,
) -> None:
    client = client_with_password
    answers = [client.post("/login", data={"password": f"{n}", "who": "AB"}) for n in range(8)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429] * 3
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30
    assert "Try again in" in answers[-1].text
    right = {"password": PASSWORD, "who": "AB"}
    assert client.post("/login", data=right, follow_redirects=False).status_code == 429
    # Programs go on meanwhile.
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/v1/plates", headers=bearer).status_code == 200


def test_guessing_tokens_is_slowed_down_too(client_with_password: TestClient) -> None:
    client = client_with_password
    guessed = [
        client.get("/api/v1/plates", headers={"Authorization": f"Bearer {n}"}) for n in range(8)
    ]
    assert [answer.status_code for answer in guessed] == [401] * 5 + [429] * 3
    assert guessed[-1].json().keys() == {"error", "hint"}
    assert int(guessed[-1].headers["retry-after"]) > 0
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/v1/plates", headers=bearer).status_code == 200, "the right one is"


def test_secrets_are_compared_in_constant_time() -> None:
    """Not measured, which would prove nothing: in these modules nothing else compares."""
    for module in ("passwords.py", "sessions.py"):
        text = (Path(bodies.__file__).parent / module).read_text()
        compared = re.findall(r"[!=]= \w*(?:key|hashed|secret|token|password|csrf|given)\b", text)
        assert not compared, module
    text = (Path(bodies.__file__).parent / "access.py").read_text()
    assert not re.search(r"(?:csrf|token|number|secret)\w* [!=]= (?!1|None)", text)


def test_no_secret_is_logged(state: StateFolder, password_hash: str, captured_log: Any) -> None:
    log, lines = captured_log
    settings = Settings(state, password=password_hash, tokens={"robot": "sha256$" + "0" * 64})
    app = create_app(settings, log)
    with TestClient(app, "http://127.0.0.1:8765", client=("127.0.0.1", 5)) as client:
        csrf = log_in(client)
        number = client.cookies[COOKIE]
        client.post("/login", data={"password": "a wrong secret", "who": "AB"})
        client.get("/api/v1/plates", headers={"Authorization": "Bearer a-wrong-token"})
        client.post("/api/v1/review", json=REVIEW, headers={"X-CSRF-Token": "a-wrong-csrf"})
        client.post("/logout", data={"csrf": csrf})
    assert {"logged in", "login refused", "token refused"} <= {line["event"] for line in lines}
    said = repr(lines)
    assert "127.0.0.1" in said
    for secret in (PASSWORD, "a wrong secret", "a-wrong-token", csrf, number, password_hash):
        assert secret not in said
    shown = app.state.site.access.shown
    assert number not in repr(shown), "nor would an accident in a message show it"


# -- files ------------------------------------------------------------------------------------

TRAVERSALS = (
    "../canary.txt", "../../canary.txt", "..%2fcanary.txt", "%2e%2e%2fcanary.txt",
    "%252e%252e%252fcanary.txt", "..\\canary.txt", "..%5ccanary.txt", "....//canary.txt",
    "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "..%c0%af..%c0%afetc/passwd",
    "../spheroidd.db", "spheroidd.db", "canary.txt%00.png", "%00", "~root", "CON",
)  # fmt: skip


def is_harmless(response: Any) -> bool:
    text = response.content
    leaks = (CANARY.encode(), b"root:x:0:0", b"SQLite format 3", b"class Guard")
    return response.status_code < 500 and not any(one in text for one in leaks)


def test_no_path_leads_to_a_file(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "canary.txt").write_text(CANARY)
    app: Any = client.app
    paths = {route.path for _, _, route in routes(app) if "{" in (route.path or "")}
    paths |= {"/static/{name}", "/{name}", "/api/v1/images/1/{name}"}
    for path in sorted(paths):
        for wanted in TRAVERSALS:
            response = client.get(re.sub(r"\{[^}]*\}", lambda _: wanted, path))  # noqa: B023
            assert is_harmless(response), (path, wanted)
            assert response.status_code in (404, 422, 405), (path, wanted)


def test_no_parameter_leads_to_a_file(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "canary.txt").write_text(CANARY)
    app: Any = client.app
    tried = 0
    for method, path, route in routes(app):
        if method != "GET" or path.endswith("/live"):
            continue
        takes = getattr(route.original_route, "dependant", None)
        names = [field.name for field in takes.query_params] if takes else []
        for name in names:
            others = {other: filled.PLATE for other in names if other == "plate"}
            for wanted in ("../../canary.txt", "/etc/passwd", "..%2fcanary.txt", "\x00", "%00"):
                response = client.get(path, params={**others, name: wanted}, follow_redirects=False)
                assert is_harmless(response), (path, name, wanted)
                tried += 1
    assert tried > 30


def an_outline(state: StateFolder) -> tuple[int, Path]:
    """An image, and the file of its outline."""
    with Database(state.database) as database:
        [row] = database.rows(
            "SELECT image_id, outline_path FROM measurements"
            " WHERE outline_path IS NOT NULL AND current ORDER BY id DESC LIMIT 1"
        )
    return row["image_id"], state.root / row["outline_path"]


@pytest.mark.parametrize("place", ["file", "folder"])
def test_links_that_lead_out_of_the_state_folder_are_not_followed(
    state: StateFolder, client: TestClient, tmp_path: Path, place: str
) -> None:
    number, outline = an_outline(state)
    assert client.get(f"/api/v1/images/{number}/outline").status_code == 200
    outside = tmp_path / "outside"
    outside.mkdir()
    Pillow.new("RGB", (30, 20), "red").save(outside / outline.name)
    if place == "file":
        outline.unlink()
        outline.symlink_to(outside / outline.name)
    else:
        outline.parent.rename(tmp_path / "elsewhere")
        outline.parent.symlink_to(outside, target_is_directory=True)
    for width in ("", "?width=160"):
        assert client.get(f"/api/v1/images/{number}/outline{width}").status_code == 404


def test_a_record_that_leads_out_of_the_state_folder_is_not_followed(
    state: StateFolder, client: TestClient, tmp_path: Path
) -> None:
    number, _ = an_outline(state)
    outside = tmp_path / "outside.png"
    Pillow.new("RGB", (30, 20), "red").save(outside)
    for path in ("../outside.png", str(outside), "a/../../outside.png", ".", "spheroidd.db"):
        with Database(state.database) as database, database.write() as sql:
            sql.execute(
                "UPDATE measurements SET outline_path = ? WHERE image_id = ?", (path, number)
            )
        assert client.get(f"/api/v1/images/{number}/outline").status_code == 404, path


# -- names that bite --------------------------------------------------------------------------

NASTY = (
    "<script>alert(1)</script>", '" onmouseover="alert(1)', "' onload='alert(1)", "</title><img>",
    "a\r\nSet-Cookie: evil=1\r\n\r\n<b>", "\u202egnp.exe", "{{ 7*7 }}", "&lt;b&gt;", "javascript:x",
)  # fmt: skip


@pytest.fixture
def nasty(state: StateFolder) -> StateFolder:
    """Plates with names that a folder can have, as far as the store goes."""
    with Database(state.database) as database:
        ledger = Ledger(database)
        for number, name in enumerate(NASTY):
            path = f"/e/nasty/{number}.jpg"
            ledger.arrive("/e", [(path, 70846, int(NOW * 1e9))], NOW)
            image = next(one for one in ledger.waiting("/e") if one.path == path)
            facts = {"plate": name, "plate_key": natural_key(name), "sha256": f"nasty/{number}"}
            ledger.admit(image.id, admission(name, f"{number}.jpg", **facts), NOW)
    return state


def test_names_are_shown_and_never_run(nasty: StateFolder, client: TestClient) -> None:
    raw = ("<script>alert", '" onmouseover="', "' onload='", "</title><img>")
    for name in NASTY:
        asked = {"plate": name, "well": name}
        for path in ("/", "/plate", "/well", "/review", "/login"):
            response = client.get(path, params={**asked, "next": name}, follow_redirects=False)
            assert response.status_code < 500, (path, name)
            text = response.text
            assert not [one for one in raw if one in text], (path, name)
            visible = re.sub(r"<[^>]*>", "", text)
            assert "\u202e" not in visible, "it would turn the text around"
            assert not re.search(r"\b49\b", visible), "the template engine read a name"
    known = client.get("/plate", params={"plate": NASTY[0]})
    assert known.status_code == 200, "the plates are there"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in known.text
    unknown = client.get("/plate", params={"plate": "<script>alert(1)</script>!"})
    assert unknown.status_code == 404
    assert "<script>alert" not in unknown.text


def test_answers_to_programs_are_never_taken_for_pages(
    nasty: StateFolder, client: TestClient
) -> None:
    app: Any = client.app
    for method, path, _ in routes(app):
        if method == "GET" and path.startswith("/api/") and not path.endswith("/live"):
            for name in NASTY[:2]:
                response = client.get(path, params={"plate": name, "well": name})
                assert not response.headers["content-type"].startswith("text/html"), path
                assert response.headers["x-content-type-options"] == "nosniff"


def test_no_name_adds_a_header(nasty: StateFolder, client: TestClient) -> None:
    for name in NASTY:
        for form in ("csv", "json", "parquet"):
            asked = {"plate": name, "format": form}
            response = client.get("/api/v1/growth", params=asked)
            assert response.status_code == 200, (name, form)
            assert "set-cookie" not in response.headers
            for value in response.headers.values():
                assert value.isascii() and value.isprintable(), (name, form)
    step = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    home = client.get(f"/login?next={quote(NASTY[4])}", headers=step, follow_redirects=False)
    assert "set-cookie" not in home.headers


def test_the_login_leads_nowhere_else(client_with_password: TestClient) -> None:
    client = client_with_password
    form = {"password": PASSWORD, "who": "AB"}
    wanted = ("https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example",
              "javascript:alert(1)", "/\r\nSet-Cookie:a=b", "\\\\evil", "http:evil")  # fmt: skip
    for one in wanted:
        asked = client.get("/login", params={"next": one})
        kept = re.search(r'name="next" value="([^"]*)"', asked.text)
        assert kept and kept[1] == "/", one
        done = client.post("/login", data={**form, "next": one}, follow_redirects=False)
        assert done.headers["location"] == "/", one
        again = client.get("/login", params={"next": one}, follow_redirects=False)
        assert again.headers["location"] == "/", one
        client.cookies.clear()


# -- too much ---------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_not_read(client_with_password: TestClient) -> None:
    client = client_with_password
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    large = b"x" * (bodies._MOST_BYTES + 1)

    def parts() -> Iterator[bytes]:
        for _ in range(2000):
            yield b"x" * 1024

    for path, headers in (("/login", {}), ("/api/v1/review", bearer)):
        for content in (large, parts()):
            response = client.post(path, content=content, headers=headers)
            assert response.status_code == 413, path
            assert response.headers["connection"] == "close"
    assert client.post("/login", content=b"&" * 1000).status_code == 422
    many = "&".join(f"f{n}=1" for n in range(5000))
    assert client.post("/login", content=many).status_code == 422
    lying = client.post("/login", content=b"x", headers={"Content-Length": "9" * 4000})
    assert lying.status_code == 413


def test_other_methods_are_not_known(client: TestClient, client_with_password: TestClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "X"):
        for path in ("/", "/api/v1/plates", "/api/v1/review", "/login", "/static/base.css"):
            assert client.request(method, path).status_code in (403, 405), path
            known = client_with_password.request(method, path, headers=bearer)
            assert known.status_code == 405, (method, path)


def test_a_websocket_is_closed(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/api/v1/live"),
    ):
        pass
    assert caught.value.code == 1008


# -- on a real socket -------------------------------------------------------------------------


@pytest.fixture
def served(
    state: StateFolder, password_hash: str, captured_log: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, int]]:
    """The real server, less patient."""
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(bodies, "_MOST_SECONDS", 0.5)
    app = create_app(Settings(state, password=password_hash), captured_log[0])
    config = uvicorn.Config(
        app, http=Patient, ws="none", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, limit_concurrency=200, timeout_keep_alive=1,
        h11_max_incomplete_event_size=16 * 1024,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as opened:
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        try:
            yield opened.getsockname()
        finally:
            app.state.site.live.let_go()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def ask(address: tuple[str, int], *parts: bytes) -> bytes:
    """All that is answered until the server ends the connection."""
    with socket.create_connection(address, timeout=30) as end:
        for part in parts:
            end.sendall(part)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := end.recv(65536):
                said += part
        return said


def test_who_does_not_finish_a_request_is_cut_off(served: tuple[str, int]) -> None:
    """Three that hold a connection and make no use of it; meanwhile others are served."""
    host = b"Host: localhost\r\n"
    began = time.monotonic()
    slow: dict[str, tuple[bytes, ...]] = {
        "silent": (),
        "slow head": (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
        "slow after another": (b"GET /login HTTP/1.1\r\n" + host + b"\r\nGET /lo",),
        "slow body": (b"POST /login HTTP/1.1\r\n" + host + b"Content-Length: 900\r\n\r\nwho=",),
        "body nobody wants": (b"GET /login HTTP/1.1\r\n" + host + b"Content-Length: 9\r\n\r\nx",),
    }

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(
            *(asyncio.to_thread(ask, served, *parts) for parts in slow.values())
        )

    answers = dict(zip(slow, asyncio.run(all_of_them()), strict=True))
    assert time.monotonic() - began < 25
    assert answers["silent"] == answers["slow head"] == b""
    assert answers["slow after another"].startswith(b"HTTP/1.1 200")
    assert answers["slow body"].startswith(b"HTTP/1.1 408")
    closing = b"GET /static/base.css HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    assert ask(served, closing).startswith(b"HTTP/1.1 200"), "others are served"


def test_a_request_on_the_wire_that_is_not_one(served: tuple[str, int]) -> None:
    close = b"Connection: close\r\n\r\n"
    host = b"Host: localhost\r\n"
    large = b"X: " + b"a" * 70_000 + b"\r\n"
    assert ask(served, b"GET / HTTP/1.1\r\n" + host + large + close)[9:12] in (b"400", b"431")
    path = b"/" + b"a" * 20_000
    assert ask(served, b"GET " + path + b" HTTP/1.1\r\n" + host + close)[9:12] in (b"400", b"414")
    assert ask(served, b"GET / HTTP/1.1\r\n" + host + host + close).startswith(b"HTTP/1.1 400")
    assert ask(served, b"GET / HTTP/1.1\r\n" + close).startswith(b"HTTP/1.1 400")
    assert ask(served, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421")
    smuggled = b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"
    assert b" 200 " not in ask(
        served, b"POST /api/v1/review HTTP/1.1\r\n" + host + smuggled + close
    )
    assert ask(served, b"GET http://evil.example/ HTTP/1.1\r\n" + host + close)[9:12] in (
        b"303", b"400", b"404",
    )  # fmt: skip
    assert ask(served, b"GET /../../../etc/passwd HTTP/1.1\r\n" + host + close)[9:12] == b"303"
    for path in (b"/static/../app.py", b"/static/%2e%2e/app.py", b"/static//etc/passwd"):
        assert ask(served, b"GET " + path + b" HTTP/1.1\r\n" + host + close)[9:12] == b"404"
    assert ask(served, b"\x16\x03\x01\x02\x00\x01\x00")[9:12] in (b"400", b"")


def test_live_events_end_with_the_session(served: tuple[str, int]) -> None:
    """A page that was left open learns nothing more after the logout."""
    host, port = served
    site = f"http://{host}:{port}"
    form = f"password={quote(PASSWORD)}&who=AB".encode()
    head = f"Host: {host}:{port}\r\n".encode()
    close = b"Connection: close\r\n"
    said = ask(
        served,
        b"POST /login HTTP/1.1\r\n" + head + close
        + f"Origin: {site}\r\nContent-Length: {len(form)}\r\n\r\n".encode() + form,
    )  # fmt: skip
    found = re.search(rb"set-cookie: ([^;]+);", said)
    assert found, said
    cookie = b"Cookie: " + found[1] + b"\r\n"
    page = ask(served, b"GET /nothing HTTP/1.1\r\n" + head + close + cookie + b"\r\n")
    [csrf] = re.findall(rb'name="csrf" content="([^"]+)"', page)
    with socket.create_connection(served, timeout=30) as live:
        live.sendall(b"GET /api/v1/live HTTP/1.1\r\n" + head + cookie + b"\r\n")
        heard = live.recv(65536)
        assert heard.startswith(b"HTTP/1.1 200")
        logout = b"csrf=" + csrf
        length = f"Content-Length: {len(logout)}\r\n\r\n".encode()
        done = ask(served, b"POST /logout HTTP/1.1\r\n" + head + close + cookie + length + logout)
        assert done.startswith(b"HTTP/1.1 303")
        while not heard.endswith(b"0\r\n\r\n"):  # the end of a chunked answer
            part = live.recv(65536)
            assert part, "it ends in order"
            heard += part
