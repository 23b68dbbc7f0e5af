"""Messages to real receivers: that get through, that don't, and what may be said of it."""

import email
import email.policy
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from receivers import Mailbox, Webhook
from spheroidd.alerts.addresses import Address, addresses, fingerprint
from spheroidd.alerts.sending import Sender
from spheroidd.alerts.telling import Message
from spheroidd.errors import ConfigError

NOW = 1_700_000_000.0
Log = tuple[Any, list[dict[str, Any]]]


def a_message(title: str = "The disk is nearly full") -> Message:
    return Message(
        title, "1 GB is left on <b>/var</b> & *that* is _little_.\nMake room.", "failure"
    )


def sender(log: Log, *urls: str, limit: float = 10.0) -> Sender:
    found = [Address(f"alerts.targets[{n}]", url) for n, url in enumerate(urls)]
    return Sender(found, log[0], limit)


def test_a_message_reaches_http_and_mail(
    webhook: Webhook, mailbox: Mailbox, captured_log: Log
) -> None:
    both = sender(captured_log, webhook.url, mailbox.url)
    assert both.send(a_message(), NOW) == ""
    [message] = webhook.messages
    assert message["title"] == "The disk is nearly full"
    assert message["message"] == a_message().body
    assert message["type"] == "failure"
    [mail] = mailbox.mails
    parsed = email.message_from_string(mail, policy=email.policy.default)
    assert parsed["Subject"] == "The disk is nearly full"
    assert "biologist@lab.example" in parsed["To"]
    text = parsed.get_body(("plain",))
    assert text is not None
    assert "1 GB is left on <b>/var</b> & *that* is _little_." in text.get_content()
    assert both.trouble == ""


def test_a_receiver_that_is_away_is_tried_again_ever_more_rarely(
    webhook: Webhook, captured_log: Log
) -> None:
    one = sender(captured_log, webhook.url)
    webhook.go_away()
    tried, now = [], NOW
    while now < NOW + 7200:
        if one.is_due(now):
            tried.append(now - NOW)
            why = one.send(a_message(), now)
            assert "json://… (alerts.targets[0]): it refuses connections" in why
        now += 10
    assert tried == [0, 30, 150, 630, 2430, 4230, 6030]
    assert "json://…" in one.trouble
    assert "tried 7 times" in one.trouble
    assert one.is_due(NOW - 86400)  # a clock that was set back makes nobody wait
    webhook.come_back()
    assert one.send(a_message(), NOW + 7830) == ""
    assert one.trouble == ""
    assert len(webhook.messages) == 1
    events = [event["event"] for event in captured_log[1]]
    assert events == ["an alert can't be sent"] * 7 + ["alerts can be sent again"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (500, "it answers with error 500"),
        (403, "it refuses the password or token"),
        (404, "there is nothing at this address"),
    ],
)
def test_what_a_receiver_answers_is_said_in_words(
    webhook: Webhook, captured_log: Log, answer: int, words: str
) -> None:
    webhook.answer = answer
    assert words in sender(captured_log, webhook.url).send(a_message(), NOW)


def test_a_refused_mail_and_an_unknown_host_are_said_in_words(
    mailbox: Mailbox, captured_log: Log
) -> None:
    mailbox.refuses = True
    why = sender(captured_log, mailbox.url, "json://nowhere.invalid/t0ken").send(a_message(), NOW)
    assert "mailto://… (alerts.targets[0]): it refuses the recipient" in why
    assert "json://… (alerts.targets[1]): the network does not know its name" in why


def test_one_that_hangs_holds_up_nobody(webhook: Webhook, captured_log: Log) -> None:
    with Webhook() as other:
        webhook.trickles = True
        both = sender(captured_log, webhook.url, other.url, limit=1.0)
        begun = time.monotonic()
        assert both.send(a_message("one"), NOW) == ""
        assert time.monotonic() - begun < 8
        assert other.titles == ["one"]
        assert "json://… (alerts.targets[0]): it did not answer within 1 s" in both.trouble
        hanging = [thread for thread in threading.enumerate() if thread.name == "alert"]
        assert len(hanging) == 1
        assert hanging[0].daemon  # or the program could not end
        both.send(a_message("two"), NOW + 40)
        assert other.titles == ["one", "two"]
        assert "still hangs" in both.trouble
        assert [t for t in threading.enumerate() if t.name == "alert"] == hanging
        # Well again, it gets what it has missed, at once.
        webhook.trickles = False
        webhook.let_go.set()
        hanging[0].join(20)
        both.catch_up(NOW + 4000)
        [caught_up] = webhook.messages
        assert caught_up["title"] == "two"
        assert "2 messages could not be sent before" in caught_up["message"]
        both.catch_up(NOW + 8000)
        assert len(webhook.messages) == 1
        assert other.titles == ["one", "two"]


def test_ending_waits_for_no_answer(webhook: Webhook, captured_log: Log) -> None:
    webhook.trickles = True
    one = sender(captured_log, webhook.url, limit=60)
    threading.Timer(0.3, one.stop).start()
    begun = time.monotonic()
    assert "is ending" in one.send(a_message(), NOW)
    assert time.monotonic() - begun < 20


def test_secrets_are_nowhere(
    webhook: Webhook, captured_log: Log, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With every logger of the process turned up to the full."""
    everything = logging.FileHandler(tmp_path / "python.log")
    root = logging.getLogger()
    level = root.level
    root.addHandler(everything)
    root.setLevel(1)
    logging.getLogger("urllib3").setLevel(1)
    secret = "mailto://us3r:pa55w0rd@127.0.0.1:9/?to=a@b.example&from=c@d.example"
    try:
        found = addresses([webhook.url, secret], None, {})
        one = Sender(found.found, captured_log[0], 10)
        one.send(a_message(), NOW)
        assert len(one.targets) == 2
        del one.targets[1]  # apprise makes a second mail wait
        webhook.answer = 500
        one.send(a_message(), NOW)
        webhook.go_away()
        one.send(a_message(), NOW + 4000)
        with pytest.raises(ConfigError) as error:
            Sender([Address("alerts.targets[0]", "slack://pa55w0rd")], captured_log[0])
    finally:
        root.removeHandler(everything)
        everything.close()
        root.setLevel(level)
        logging.getLogger("urllib3").setLevel(0)
        webhook.come_back()
    assert "slack://… (alerts.targets[0])" in str(error.value)
    told = json.dumps(captured_log[1], default=str) + one.trouble + str(error.value) + repr(found)
    told += (tmp_path / "python.log").read_text() + "".join(capfd.readouterr())
    assert "json://…" in told
    for word in Webhook.SECRETS:
        assert word not in told


def test_addresses_come_from_everywhere_each_once(tmp_path: Path) -> None:
    file = tmp_path / "targets"
    file.write_text("# who is told\n\n  json://a/one  \nmailto://two@b.example\n")
    file.chmod(0o600)
    found = addresses(
        ["json://a/one"], file, {"SPHEROIDD_ALERTS": "json://c/three\njson://c/four json://a/one"}
    )
    assert [(one.place, one.url) for one in found.found] == [
        ("alerts.targets[0]", "json://a/one"),
        ("targets, line 4", "mailto://two@b.example"),
        ("SPHEROIDD_ALERTS, number 1", "json://c/three"),
        ("SPHEROIDD_ALERTS, number 2", "json://c/four"),
    ]
    assert found.warnings == ()
    file.chmod(0o644)
    [warning] = addresses([], file, {}).warnings
    assert "chmod" in warning


def test_systemds_credential_is_read_where_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "alerts").write_text("json://a/one\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    [one] = addresses([], None, environment).found
    assert one.place == "alerts, line 1"
    other = tmp_path / "other"
    other.write_text("json://b/two\n")
    assert [one.url for one in addresses([], other, environment).found] == ["json://b/two"]
    assert addresses([], None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "no")}).found == ()


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert fingerprint(None, {}) == fingerprint(None, environment) == ""
    for file in (tmp_path / "targets", tmp_path / "alerts"):  # a file of ours, systemd's credential
        named = file if file.name == "targets" else None
        file.write_text("json://a/s3cret\n")
        one = fingerprint(named, environment)
        assert one == fingerprint(named, environment)
        assert len(one) == 64
        file.write_text("json://a/s3cret2\n")
        assert fingerprint(named, environment) != one
    assert fingerprint(tmp_path / "missing", environment) == "unreadable"


def test_bad_addresses_are_named_by_place_and_not_shown(tmp_path: Path, captured_log: Log) -> None:
    file = tmp_path / "targets"
    file.write_text("json://good/path\nhunter2 is my password\nnosuch://pa55w0rd@x\n")
    with pytest.raises(ConfigError) as error:
        Sender(addresses([], file, {}).found, captured_log[0])
    text = str(error.value)
    assert "targets, line 2" in text
    assert "nosuch://… (targets, line 3)" in text
    assert "line 1" not in text
    assert "hunter2" not in text
    assert "pa55w0rd" not in text
    with pytest.raises(ConfigError, match="can't be read"):
        addresses([], tmp_path / "missing", {})
    assert error.value.exit_code == 78


def test_without_targets_nothing_is_sent(captured_log: Log) -> None:
    none = sender(captured_log)
    assert not none.is_due(NOW)
    none.catch_up(NOW)
    assert none.trouble == ""
