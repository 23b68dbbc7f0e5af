"""The monitor: a real server on a real port, asked as Prometheus and as silly clients do."""

import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from made_up import NOW, measured
from spheroidd.errors import SpheroiddError
from spheroidd.monitor import server as server_module
from spheroidd.monitor.look import Look
from spheroidd.monitor.server import Monitor
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.database import Database
from spheroidd.store.health import Health
from spheroidd.store.ledger import Ledger

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Service:
    """What a daemon would have written, a monitor that reads it, and the time."""

    def __init__(self, folder: Path, log: Any) -> None:
        self.database = Database(folder / "spheroidd.db")
        self.now = NOW + 60
        self.monitor = Monitor("127.0.0.1", 0, self.look(), log)
        self.monitor.start()

    def look(self) -> Look:
        """Never content with what it read a moment ago."""
        return Look(self.database.path, lambda: self.now, itertools.count(step=60).__next__)

    def live(self) -> None:
        health = Health(self.database)
        health.started(NOW, pid=1, version="1.2")
        health.update(NOW + 55, phase="running", model="u2netp", provider="CPU")

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor.port, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def health(self) -> tuple[int, dict[str, Any]]:
        status, _, body = self.ask("/healthz")
        return status, json.loads(body)

    def scrape(self) -> Samples:
        status, headers, body = self.ask("/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        families = list(text_string_to_metric_families(body.decode()))
        assert all(family.documentation for family in families)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def service(
    tmp_path: Path, captured_log: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", 0.02)
    one = Service(tmp_path, captured_log[0])
    yield one
    one.monitor.stop()
    one.database.close()


def failing(database: Database, name: str) -> None:
    """One image arrives and can't be read."""
    ledger = Ledger(database)
    ledger.arrive("/e", [(f"/e/P/A1/{name}", 1, 1)], NOW)
    ledger.fail(ledger.waiting("/e")[-1], "torn", NOW, permanent=True)


def test_a_scrape_has_every_number_with_its_meaning(service: Service) -> None:
    service.live()
    measured(service.database, "A1", 0)
    measured(service.database, "A1", 1)
    failing(service.database, "bad.jpg")
    Health(service.database).folder("/e/\udc9f".replace("\udc9f", "\uf79f"), "", "native", NOW,
                                    scanned=True)  # fmt: skip
    Health(service.database).folder('/with "quotes"', "gone", None, NOW, scanned=False)
    Conditions(service.database).tell(
        [Condition("disk"), Condition("backup", "the share is away")], NOW
    )
    found = service.scrape()

    build = (("model", "u2netp"), ("provider", "CPU"), ("version", "1.2"))
    assert found["spheroidd_build_info", build] == 1
    assert found["spheroidd_images", (("state", "measured"),)] == 2
    assert found["spheroidd_images", (("state", "failed"),)] == 1
    assert found["spheroidd_images", (("state", "waiting"),)] == 0
    assert found["spheroidd_images_seen_total", ()] == 3
    assert found["spheroidd_images_measured_total", ()] == 2
    assert found["spheroidd_failures_total", (("stage", "waiting"),)] == 1
    assert found["spheroidd_failures_total", (("stage", "segmented"),)] == 0
    assert found["spheroidd_condition", (("name", "disk"),)] == 0
    assert found["spheroidd_condition", (("name", "backup"),)] == 1
    assert found["spheroidd_folder_degraded", (("folder", "/e/\\x9f"),)] == 0
    assert found["spheroidd_folder_degraded", (("folder", '/with "quotes"'),)] == 1
    assert found["spheroidd_seconds_since_last_image", ()] == 60
    assert found["spheroidd_heartbeat_age_seconds", ()] == 5
    assert found["spheroidd_image_latency_seconds", (("quantile", "0.5"),)] == 0
    assert found["spheroidd_disk_free_bytes", ()] > 0
    assert found["spheroidd_healthy", ()] == 1
    assert found["spheroidd_alerts_open", ()] == 0

    _, headers, body = service.ask("/metrics", Accept="application/openmetrics-text")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert list(openmetrics_families(body.decode()))


def test_counters_only_ever_grow_and_survive_a_restart(service: Service) -> None:
    service.live()
    failures = ("spheroidd_failures_total", (("stage", "waiting"),))
    failing(service.database, "1.jpg")
    assert service.scrape()[failures] == 1
    Ledger(service.database).retry(NOW + 1)
    found = service.scrape()
    assert found[failures] == 1, "mended, but it did happen"
    assert found["spheroidd_images", (("state", "failed"),)] == 0
    failing(service.database, "2.jpg")
    assert service.scrape()[failures] == 2
    assert service.look()().steps["failed_waiting"] == 2, "as another process counts"
    assert service.scrape()["spheroidd_images_seen_total", ()] == 2


def test_healthy_is_only_where_work_is_possible(service: Service) -> None:
    assert service.health() == (
        503, {"status": "trouble", "reasons": ["the daemon has never run"]},
    )  # fmt: skip
    Health(service.database).started(NOW + 50, pid=1, version="1.2")
    assert service.health()[1]["reasons"] == ["the daemon is starting"]
    service.live()
    told = Conditions(service.database)
    told.tell([Condition("disk"), Condition("backup", "no share", urgent=False),
               Condition("accelerator", "lost", urgent=False)], NOW)  # fmt: skip
    Health(service.database).folder("/e", "gone", None, NOW, scanned=False)
    assert service.health() == (200, {"status": "ok"})
    told.tell([Condition("disk", "full: ½ GB", "make room", urgent=True)], NOW)
    assert service.health() == (503, {"status": "trouble", "reasons": ["disk: full: ½ GB"]})
    assert service.scrape()["spheroidd_healthy", ()] == 0
    told.tell([Condition("disk")], NOW)
    assert service.health()[0] == 200
    service.now += 300
    assert service.health() == (
        503, {"status": "trouble", "reasons": ["no heartbeat for 305 s"]},
    )  # fmt: skip


def test_a_database_that_can_not_be_read_is_said(service: Service) -> None:
    service.live()
    service.database.close()
    service.database.path.write_bytes(b"rubbish" * 1000)
    status, told = service.health()
    assert status == 503
    assert "can't be read" in told["reasons"][0]
    assert service.ask("/metrics")[0] == 503


def test_nothing_else_is_answered(service: Service) -> None:
    service.live()
    for path in ("/", "/healthz/", "/metrics/../etc/passwd", "/favicon.ico", "/%2e%2e"):
        assert service.ask(path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"):
        status, headers, _ = service.ask("/healthz", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, body = service.ask("/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(service.ask("/healthz")[2])
    assert service.ask("/healthz?x=1")[0] == 200


def test_a_page_under_another_name_learns_nothing(service: Service) -> None:
    service.live()
    for host in ("localhost", "LocalHost:80", "127.0.0.1:9", "[::1]:9", "[::1]"):
        assert service.ask("/healthz", Host=host)[0] == 200, host
    for host in ("rebound.example", "rebound.example:9", "localhost.example", "",
                 "127.0.0.1,rebound.example", "rebound.example:80:127.0.0.1"):  # fmt: skip
        for path in ("/healthz", "/metrics"):
            status, _, body = service.ask(path, Host=host)
            assert (status, body) == (403, b"Ask for localhost.\n"), host


def ended(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def answers(service: Service) -> bool:
    """On a busy machine an honest client may be cut off, too, once or twice."""
    try:
        return service.health()[0] == 200
    except OSError:
        return False


def test_slow_and_silly_clients_neither_stop_nor_grow_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server_module, "_CLIENT_SECONDS", 1.0)
    service.live()
    before = threading.active_count()
    address = ("127.0.0.1", service.monitor.port)
    silent = [socket.create_connection(address) for _ in range(60)]
    assert ended(lambda: answers(service)), "those who have waited longest make room"
    assert ended(lambda: threading.active_count() <= before + server_module._MOST_CLIENTS + 1)

    slow = socket.create_connection(address)
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")

    def cut_off() -> bool:
        try:
            slow.sendall(b"X-Slow: 1\r\n")
        except OSError:
            return True
        return False

    assert ended(cut_off), "one header after another for ever"
    for rubbish in (b"\x16\x03\x01\x02\x00\x01", b"\0" * 70_000, b"GET\r\n\r\n", b"A" * 70_000,
                    b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
                    b"POST /healthz HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n"):  # fmt: skip
        with socket.create_connection(address) as client:
            client.sendall(rubbish)
    with socket.create_connection(address) as client:  # asks, and doesn't wait for the answer
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert ended(lambda: answers(service))
    for client in (*silent, slow):
        client.close()
    assert ended(lambda: threading.active_count() <= before)
    assert capfd.readouterr().err == ""


def test_it_reads_once_however_many_ask(tmp_path: Path) -> None:
    database = Database(tmp_path / "spheroidd.db")
    moment = [0.0]
    look = Look(database.path, lambda: NOW, lambda: moment[0])
    first = look()
    failing(database, "1.jpg")
    assert look() is first
    moment[0] = 2.0
    assert look().states["failed"] == 1
    database.close()


def test_a_port_that_is_taken_is_told_at_the_start(service: Service, captured_log: Any) -> None:
    second = Monitor("127.0.0.1", service.monitor.port, service.look(), captured_log[0])
    with pytest.raises(SpheroiddError, match=f"monitor.port {service.monitor.port}") as told:
        second.start()
    assert "choose another port" in told.value.hint
    second.stop()
    service.monitor.stop()
    second.start()  # at once again, as a restarted daemon needs it
    service.live()
    service.monitor = second
    assert service.health()[0] == 200
