"""Passwords, tokens, sessions, tries, and where a request comes from: decisions, one by one."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from spheroidd.config_web import Web
from spheroidd.errors import ConfigError
from spheroidd.store.folder import StateFolder
from spheroidd.web import attempts, origin, passwords
from spheroidd.web.app import Settings, create_app
from spheroidd.web.attempts import Attempts, Pace, network
from spheroidd.web.sessions import Sessions
from spheroidd.web.viewer import refuse_unsafe

HOUR, DAY = 3600.0, 86400.0
COOKIE = "spheroidd-8765"
PASSWORD, TOKEN = "correct horse battery", "a-token-of-32-bytes-for-a-program"  # conftest's


@pytest.fixture(scope="module")
def password_hash() -> str:
    """As weak as may be, for tests that log in often."""
    return "scrypt$16384$8$1$YSBzYWx0IGZvciB0ZXN0cw==$Ap7YE3+302GKuNA0A4IPjrjfJWySgQvN1t2WaQVt4Sc="


# -- passwords and tokens ---------------------------------------------------------------------


def test_a_password_is_known_by_its_hash_alone() -> None:
    password_hash = passwords.hash_password(PASSWORD)
    assert passwords.check(PASSWORD, password_hash)
    assert not passwords.check(PASSWORD + " ", password_hash)
    assert not passwords.check("", password_hash)
    assert PASSWORD not in password_hash
    assert Web(password=password_hash).password == password_hash, "the configuration takes it"
    assert password_hash not in repr(Web(password=password_hash))


def test_the_same_password_typed_on_another_system_is_the_same() -> None:
    composed, decomposed = "Zellkugel-\u00fc\u00e9", "Zellkugel-u\u0308e\u0301"
    first, second = passwords.hash_password(composed), passwords.hash_password(composed)
    assert first != second, "salted"
    assert passwords.check(decomposed, first)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_passwords_that_are_too_short_or_too_long_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match="8 to 1024 characters"):
        passwords.hash_password(password)


@pytest.mark.parametrize(
    "hashed",
    [
        "plain text",
        "scrypt$32768$8$3$c2FsdHNhbHRzYWx0c2FsdA==",
        "bcrypt$32768$8$3$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",
        "scrypt$32768$8$3$not base64!$a2V5a2V5a2V5a2V5a2V5a2V5",
        "scrypt$32768$8$3$c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",  # a short salt
        "scrypt$32768$8$3$c2FsdHNhbHRzYWx0c2FsdA==$a2V5",  # a short key
        "scrypt$1024$8$1$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",  # weak
        "scrypt$32767$8$3$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",
        "scrypt$1073741824$8$1$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",  # 1 TB
        "scrypt$32768$8$99999$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",  # hours
        "scrypt$32768$0$3$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5",
    ],
)
def test_a_hash_that_is_wrong_weak_or_too_much_does_not_start(hashed: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.password: .*--hash-password") as caught:
        refuse_unsafe("127.0.0.1", [], hashed, {})
    assert caught.value.exit_code == 78


def test_a_token_is_long_random_and_known_by_its_hash() -> None:
    (token, hashed), (other, _) = passwords.new_token(), passwords.new_token()
    assert len(token) >= 43, "32 bytes"
    assert token != other
    hashes = {"other": "sha256$" + "0" * 64, "robot": hashed}
    assert dict(Web(tokens=hashes).tokens) == hashes, "the configuration takes it"
    assert passwords.name_of(token, hashes) == "robot"
    assert passwords.name_of(token[:-1], hashes) is None
    assert passwords.name_of("", hashes) is None
    assert passwords.name_of("\udce9", hashes) is None


def test_many_guesses_at_once_take_the_memory_of_one() -> None:
    """In a process of its own: the highest memory use so far can't be reset."""
    program = (
        "import re, sys, threading\n"
        "from pathlib import Path\n"
        "from spheroidd.web.passwords import check\n"
        "def most():\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = most()\n"
        "tries = [threading.Thread(target=check, args=('no', sys.argv[1])) for _ in range(5)]\n"
        "for one in tries: one.start()\n"
        "for one in tries: one.join()\n"
        "print((most() - before) / 1024)\n"
    )
    hashed = "scrypt$32768$8$1$c2FsdHNhbHRzYWx0c2FsdA==$a2V5a2V5a2V5a2V5a2V5a2V5"
    done = subprocess.run(
        [sys.executable, "-c", program, hashed], capture_output=True, text=True, check=True
    )
    assert 30 < float(done.stdout) < 80, "MB; each takes 32"


# -- how often --------------------------------------------------------------------------------


def test_an_address_may_be_wrong_five_times_and_then_waits() -> None:
    attempts = Attempts(Pace(5, 30.0), Pace(100, 1.0))
    assert [attempts.take("10.0.0.1", 0.0) for _ in range(5)] == [0.0] * 5
    assert attempts.take("10.0.0.1", 0.0) == pytest.approx(30.0)
    assert attempts.take("10.0.0.1", 20.0) == pytest.approx(10.0), "asking costs nothing"
    assert attempts.take("10.0.0.2", 20.0) == 0.0, "others don't wait"
    assert attempts.take("10.0.0.1", 30.0) == 0.0
    assert attempts.take("10.0.0.1", 30.0) > 0.0
    assert [attempts.take("10.0.0.1", 1e6) for _ in range(6)].count(0.0) == 5, "all is forgotten"


def test_who_was_right_did_not_try() -> None:
    attempts = Attempts(Pace(5, 30.0), Pace(10, 3.0))
    for _ in range(50):
        assert attempts.take("10.0.0.1", 0.0) == 0.0
        attempts.right("10.0.0.1")


def test_many_addresses_together_wait_but_not_those_that_were_right_before() -> None:
    attempts = Attempts(Pace(5, 30.0), Pace(10, 3.0))
    assert attempts.take("192.168.1.7", 0.0) == 0.0
    attempts.right("192.168.1.7")
    waits = [attempts.take(f"10.0.{n // 250}.{n % 250}", 0.0) for n in range(2000)]
    assert waits.count(0.0) == 10
    assert attempts.take("192.168.1.7", 0.0) == 0.0
    assert attempts.take("10.9.9.9", 3.0) == 0.0
    assert attempts.take("10.9.9.8", 3.0) > 0.0


def test_changing_addresses_within_a_network_does_not_help_nor_fill_the_memory() -> None:
    attempts = Attempts(Pace(5, 30.0), Pace(10**9, 1.0))
    waits = [attempts.take(f"2001:db8:1:2::{n:x}", 0.0) for n in range(100)]
    assert waits.count(0.0) == 5
    for n in range(5_000):
        address = f"2001:db8:{n:x}::1"
        attempts.take(address, 1.0)
        attempts.right(address)
    for n in range(5_000):
        attempts.take(f"2001:db9:{n:x}::1", 2.0)
    assert len(attempts) <= 2 * 4096


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", ""),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, expected: str) -> None:
    assert network(address) == expected


def test_a_clock_that_stands_still_or_goes_back_lets_nobody_in() -> None:
    attempts = Attempts(Pace(1, 10.0), Pace(100, 1.0))
    assert attempts.take("10.0.0.1", 1000.0) == 0.0
    assert attempts.take("10.0.0.1", 0.0) > 0.0
    assert attempts.take("10.0.0.1", 5.0) > 0.0


# -- sessions ---------------------------------------------------------------------------------


def test_a_session_ends_when_unused_and_in_any_case() -> None:
    sessions = Sessions()
    number = sessions.begin("AB", 0.0)
    assert sessions.of(number, 11 * HOUR)
    assert sessions.of(number, 22 * HOUR), "it was used in between"
    assert sessions.of(number, 35 * HOUR) is None
    used = sessions.begin("AB", 0.0)
    for hour in range(0, 7 * 24, 8):
        assert sessions.of(used, hour * HOUR)
    assert sessions.of(used, 7 * DAY + 1) is None
    assert len(sessions) == 0


def test_a_session_is_a_long_random_number_kept_as_a_hash() -> None:
    sessions = Sessions()
    first, second = sessions.begin("AB", 0.0), sessions.begin("AB", 0.0)
    assert first != second
    assert len(first) >= 43
    assert first not in repr(sessions._sessions)
    one, other = sessions.of(first, 0.0), sessions.of(second, 0.0)
    assert one and other and one.csrf != other.csrf
    for wrong in ("", first[:-1], first + "x", first.swapcase(), "\udce9"):
        assert sessions.of(wrong, 0.0) is None
    sessions.end(first)
    sessions.end(first)
    assert sessions.of(first, 0.0) is None
    assert sessions.of(second, 0.0)


def test_there_are_never_too_many_sessions() -> None:
    sessions = Sessions()
    first = sessions.begin("first", 0.0)
    away = sessions.begin("away", 0.0)
    for n in range(998):
        sessions.begin(str(n), 1.0)
    assert sessions.of(first, 2.0)
    sessions.begin("one more", 3.0)
    assert len(sessions) == 1000
    assert sessions.of(first, 4.0)
    assert sessions.of(away, 4.0) is None


# -- where a request comes from ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "configured", "ours"),
    [
        ("127.0.0.1:8765", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:1", "127.0.0.1", True),
        ("[::1]:8765", "127.0.0.1", True),
        ("spheroids.example:443", "127.0.0.1", True),  # a name of `names`
        ("Spheroids.Example.", "127.0.0.1", True),
        ("evil.example", "127.0.0.1", False),
        ("spheroids.example.evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:8765", "127.0.0.1", False),
        ("10.0.0.5:8765", "127.0.0.1", False),
        ("10.0.0.5:8765", "10.0.0.5", True),
        ("10.0.0.6:8765", "10.0.0.5", False),
        ("10.0.0.5:8765", "0.0.0.0", True),  # all of them: an address can't be rebound
        ("[2001:db8::5]:8765", "::", True),
        ("evil.example:8765", "0.0.0.0", False),
        ("0.0.0.0:8765", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        (":8765", "127.0.0.1", False),
        ("localhost:8765:1", "127.0.0.1", False),
        ("localhost:port", "127.0.0.1", False),
        ("localhost/evil", "127.0.0.1", False),
        ("user@localhost", "127.0.0.1", False),
        ("localhost evil", "127.0.0.1", False),
        ("[::1", "127.0.0.1", False),
        ("[localhost]", "127.0.0.1", False),
        ("\u00b9localhost", "127.0.0.1", False),
    ],
)
def test_only_our_own_names_are_served(host: str, configured: str, ours: bool) -> None:
    assert origin.is_ours(host, configured, {"spheroids.example"}) is ours


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/", "/"),
        ("/plate?plate=A%2F1&well=%22", "/plate?plate=A%2F1&well=%22"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\/evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        (" //evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/plate\r\nSet-Cookie: a=b", "/"),
        ("evil.example", "/"),
        ("/login?next=/login", "/"),
        ("/logout", "/"),
        ("/\u2025/evil", "/"),
        ("/" + "x" * 3000, "/"),
        ("", "/"),
    ],
)
def test_after_the_login_it_goes_nowhere_else(wanted: str, place: str) -> None:
    assert origin.local_path(wanted) == place


def scope(client: str | None, **headers: str) -> dict[str, Any]:
    raw = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    return {"type": "http", "client": client and (client, 1), "scheme": "http", "headers": raw}


@pytest.mark.parametrize(
    ("client", "proxied", "said", "expected"),
    [
        ("127.0.0.1", True, {"x_forwarded_for": "10.1.1.1"}, "10.1.1.1"),
        ("127.0.0.1", True, {"x_forwarded_for": "1.2.3.4, 10.1.1.1"}, "10.1.1.1"),
        ("::1", True, {"x_forwarded_for": "2001:db8::1"}, "2001:db8::1"),
        ("127.0.0.1", False, {"x_forwarded_for": "10.1.1.1"}, "127.0.0.1"),
        ("10.9.9.9", True, {"x_forwarded_for": "10.1.1.1"}, "10.9.9.9"),
        ("127.0.0.1", True, {"x_forwarded_for": "<script>"}, "127.0.0.1"),
        ("127.0.0.1", True, {"x_forwarded_for": "10.1.1.1,"}, "127.0.0.1"),
        ("127.0.0.1", True, {}, "127.0.0.1"),
        (None, True, {"x_forwarded_for": "10.1.1.1"}, ""),
    ],
)
def test_a_proxy_is_believed_only_here_and_only_where_one_is(
    client: str | None, proxied: bool, said: dict[str, str], expected: str
) -> None:
    assert origin.peer_of(scope(client, **said), proxied=proxied).address == expected


def test_who_says_that_it_was_encrypted_is_believed_only_as_a_proxy() -> None:
    said = {"x_forwarded_proto": "https"}
    assert origin.peer_of(scope("127.0.0.1", **said), proxied=True).https
    assert not origin.peer_of(scope("127.0.0.1", **said), proxied=False).https
    assert not origin.peer_of(scope("10.1.1.1", **said), proxied=True).https
    two = {"x_forwarded_proto": "https, http"}  # a client's and, last, the proxy's
    assert not origin.peer_of(scope("127.0.0.1", **two), proxied=True).https


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ({}, True),  # no browser
        ({"origin": "http://127.0.0.1:8765"}, True),
        ({"origin": "https://spheroids.example"}, True),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"origin": "http://127.0.0.1"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://spheroids.example.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8765"}, False),
    ],
)
def test_only_our_own_pages_change_anything(said: dict[str, str], ours: bool) -> None:
    headers = Headers({"host": "127.0.0.1:8765", **said})
    assert origin.from_our_pages(headers, {"spheroids.example"}) is ours


# -- what does not start ----------------------------------------------------------------------

TOKENS = {"robot": "sha256$" + "0" * 64}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1", "[::1]"])
def test_on_this_machine_alone_it_starts_without_a_password(host: str) -> None:
    refuse_unsafe(host, [], None, {})


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("0.0.0.0", []),
        ("::", []),
        ("10.0.0.5", []),
        ("labserver", []),
        ("localhost.example", []),
        ("", []),
        ("127.0.0.1", ["spheroids.example"]),
    ],
)
def test_open_to_others_it_does_not_start_without_a_password(
    host: str, names: list[str], password_hash: str
) -> None:
    with pytest.raises(ConfigError, match="there is no password") as caught:
        refuse_unsafe(host, names, None, {})
    assert caught.value.exit_code == 78
    assert "--hash-password" in caught.value.hint
    assert "--new-token" in caught.value.hint
    refuse_unsafe(host, names, password_hash, {})
    refuse_unsafe(host, names, None, TOKENS)


def test_the_application_itself_does_not_start_either(state: StateFolder) -> None:
    with pytest.raises(ConfigError, match="there is no password"):
        create_app(Settings(state, host="0.0.0.0"), None)  # type: ignore[arg-type]


# -- with the real application ----------------------------------------------------------------


def log_in(client: TestClient, next: str = "/", who: str = "AB", **headers: str) -> Any:
    form = {"password": PASSWORD, "who": who, "next": next}
    return client.post("/login", data=form, headers=headers, follow_redirects=False)


def test_without_a_password_looking_is_free_and_deciding_is_refused(client: TestClient) -> None:
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/plates").status_code == 200
    refused = client.post("/api/v1/review", json={"action": "confirm"})
    assert refused.status_code == 403
    assert "--hash-password" in refused.json()["hint"]
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"
    assert "no password" in log_in(client).text


def test_a_login_leads_back_to_the_page(client_with_password: TestClient) -> None:
    client = client_with_password
    page = client.get("/plate?plate=A%2F1&x=%22", follow_redirects=False)
    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=%2Fplate%3Fplate%3DA%252F1%26x%3D%2522"
    form = client.get(page.headers["location"])
    assert 'value="/plate?plate=A%2F1&amp;x=%22"' in form.text
    done = log_in(client, "/plate?plate=A%2F1&x=%22")
    assert (done.status_code, done.headers["location"]) == (303, "/plate?plate=A%2F1&x=%22")
    assert client.get("/api/v1/plates").status_code == 200
    again = client.get("/login?next=/review", follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/review")


def test_programs_are_told_in_words(client_with_password: TestClient) -> None:
    refused = client_with_password.get("/api/v1/plates", follow_redirects=False)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json().keys() == {"error", "hint"}
    assert "Authorization: Bearer" in refused.json()["hint"]


def test_a_token_opens_everything_and_names_who_decides(client_with_password: TestClient) -> None:
    client = client_with_password
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/v1/plates", headers=bearer).status_code == 200
    assert client.get("/api/v1/plates", headers={"Authorization": TOKEN}).status_code == 401
    assert client.get("/api/v1/plates", headers={"Authorization": "Bearer no"}).status_code == 401
    asked = client.post("/api/v1/review", json={}, headers=bearer)
    assert asked.status_code == 422, "it came as far as its content"


def test_a_token_is_a_password_for_people_too(client_with_password: TestClient) -> None:
    form = {"password": TOKEN, "who": "AB"}
    done = client_with_password.post("/login", data=form, follow_redirects=False)
    assert done.status_code == 303


def test_the_cookie_is_for_this_server_and_out_of_reach_of_scripts(
    client_with_password: TestClient,
) -> None:
    said = log_in(client_with_password).headers["set-cookie"]
    number = said.partition("=")[2].partition(";")[0]
    assert said.startswith(f"{COOKIE}=")
    assert len(number) >= 43
    parts = {part.strip().lower() for part in said.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert "secure" not in parts, "over http a browser would not keep it"
    assert not [part for part in parts if part.startswith("domain")]


@pytest.fixture
def proxied(state: StateFolder, password_hash: str, captured_log: Any) -> Iterator[TestClient]:
    """As a reverse proxy on this machine asks."""
    settings = Settings(state, password=password_hash, names=("spheroids.example",))
    app: FastAPI = create_app(settings, captured_log[0])
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.1.1.1"}
    with TestClient(
        app, "https://spheroids.example", client=("127.0.0.1", 5), headers=headers
    ) as client:
        yield client


def test_behind_a_proxy_with_tls_the_cookie_is_secure(proxied: TestClient) -> None:
    said = log_in(proxied, Origin="https://spheroids.example").headers["set-cookie"]
    assert said.startswith("__Host-spheroidd-")
    assert "secure" in said.lower()
    assert proxied.get("/api/v1/plates").status_code == 200


def test_behind_a_proxy_it_is_the_browsers_address_that_waits(proxied: TestClient) -> None:
    wrong = {"password": "wrong", "who": "AB"}
    answers = [proxied.post("/login", data=wrong).status_code for _ in range(6)]
    assert answers == [403] * 5 + [429]
    other = proxied.post("/login", data=wrong, headers={"X-Forwarded-For": "10.1.1.2"})
    assert other.status_code == 403
    claimed = {"X-Forwarded-For": "10.7.7.7, 10.1.1.1"}  # the client's claim, then the proxy's word
    assert proxied.post("/login", data=wrong, headers=claimed).status_code == 429


def test_logging_out_ends_the_session_everywhere(client_with_password: TestClient) -> None:
    client = client_with_password
    log_in(client)
    number = client.cookies[COOKIE]
    csrf = csrf_of(client)
    assert client.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert client.get("/api/v1/plates").status_code == 200
    done = client.post("/logout", data={"csrf": csrf}, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert COOKIE not in client.cookies
    kept = {"Cookie": f"{COOKIE}={number}"}
    assert client.get("/api/v1/plates", headers=kept).status_code == 401


def test_a_login_needs_initials_that_can_be_shown(client_with_password: TestClient) -> None:
    for who in ("", "  ", "x" * 41, "A\u202eB", "A\x00B"):
        assert log_in(client_with_password, who=who).status_code == 422
    assert log_in(client_with_password, who='A" <b>').status_code == 303
    page = client_with_password.get("/").text
    assert "A&#34; &lt;b&gt;" in page
    assert '" <b>' not in page


def test_a_link_on_another_site_leads_to_the_page_without_a_second_login(
    client_with_password: TestClient,
) -> None:
    """The browser holds the cookie back (SameSite=Strict), so the first answer is a step."""
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    step = client_with_password.get("/plate?plate=P", headers=clicked, follow_redirects=False)
    assert step.status_code == 200
    assert 'content="0;url=/login?next=%2Fplate%3Fplate%3DP"' in step.text
    log_in(client_with_password)
    home = client_with_password.get("/login?next=%2Fplate%3Fplate%3DP", follow_redirects=False)
    assert home.headers["location"] == "/plate?plate=P"


def csrf_of(client: TestClient) -> str:
    page = client.get("/").text
    return page.partition('name="csrf" content="')[2].partition('"')[0]


def test_the_documents_settings_are_settings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert yaml.safe_load(block)["web"].keys() <= Web.model_fields.keys()
    for said in ("12 hours", "a week", "five wrong tries", "one every 30 s", "one every 3 s"):
        assert said in " ".join(text.split()), "attempts.py and sessions.py have the numbers"
    assert (Pace(5, 30.0), Pace(10, 3.0)) == (attempts.ADDRESS, attempts.EVERYBODY)
