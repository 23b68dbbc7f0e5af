"""All checks, in the order in which they are told; none can stop the others."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from spheroidd.doctor import folders, machine, records, tools
from spheroidd.doctor.finding import Finding, Installation

_SECONDS = 30.0
_LONG_SECONDS = 300.0


@dataclass(frozen=True)
class Check:
    """A name for people, what looks, and how long that may take."""

    name: str
    look: Callable[[], Finding | Iterable[Finding]]
    seconds: float = _SECONDS


def checks(here: Installation | None) -> list[Check]:
    """All there are; None: the configuration can't be read, so only what needs none."""
    if here is None:
        return [
            Check("Python", machine.python),
            Check("clock", machine.clock),
            Check("onnxruntime", tools.packages),
        ]
    return [
        Check("Python", machine.python),
        Check("user", partial(machine.user, here)),
        Check("onnxruntime", tools.packages),
        Check("models", partial(tools.models, here)),
        Check("speed of the models", partial(tools.speed, here), _LONG_SECONDS),
        Check("CellProfiler", partial(tools.cellprofiler, here), _LONG_SECONDS),
        *(
            Check(f"folder {watch.path}", partial(folders.watched, here, watch), _LONG_SECONDS)
            for watch in here.config.watch
        ),
        Check("inotify", partial(machine.inotify, here)),
        Check("state folder", partial(folders.state, here)),
        Check("database", partial(records.database, here), _LONG_SECONDS),
        Check("daemon", partial(records.daemon, here)),
        Check("backups", partial(records.backups, here)),
        Check("alerts", partial(records.alerts, here)),
        Check("unit", partial(machine.unit, here)),
        Check("clock", machine.clock),  # last: it is compared with the time when we began
    ]


def examine(
    all_checks: Iterable[Check], begin: Callable[[str], object] = lambda _: None
) -> Iterator[Finding]:
    """Make the checks, one after the other.

    Args:
        begin: told each check's name before it begins.
    """
    for check in all_checks:
        begin(check.name)
        yield from _made(check)


def _made(check: Check) -> list[Finding]:
    """On a thread of its own: a share that hangs does not fail, it never answers."""
    findings: list[Finding] = []

    def look() -> None:
        try:
            found = check.look()
            for one in [found] if isinstance(found, Finding) else found:
                findings.append(one)  # noqa: PERF402 - what came before an error counts
        except Exception as error:
            findings.append(
                Finding(check.name, "wrong", f"it could not be checked: {error!r}",
                        "Mend what it says; if it says nothing, report it.")
            )  # fmt: skip

    thread = threading.Thread(target=look, name=check.name, daemon=True)
    thread.start()
    thread.join(check.seconds)
    if thread.is_alive():
        late = Finding(check.name, "wrong", f"no answer in {check.seconds:g} s",
                       "Does its disk or share answer? `ls` there will tell.")  # fmt: skip
        return [*findings, late]
    return findings
