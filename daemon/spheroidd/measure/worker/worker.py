"""CellProfiler as a child process: JSON lines on stdin, JSON lines on stdout.

It runs under CellProfiler's own Python and imports nothing of spheroidd.  After the ready
line, every request {"id", "op", ...} gets a reply with its id: {"id", "ok": true, ...}
or {"id", "ok": false, "kind": "pipeline" | "run" | "worker", "error": text}.  Outcomes that
are too much for one line come in several, all but the last with "more": true.  It ends when
stdin closes, in the middle of a batch as well.

    validate  {pipeline, names}
              -> {sha256, modules, images: names -> ours, objects, measured, on_crop}
    run       {pipeline, names, sha256, output, images}  -> {sha256, images: {key: outcome}}
    exit

`names` is the configuration's word on the pipeline's image names; see `inputs.match`, and
`running.run` for an outcome.
"""

import argparse
import ctypes
import gc
import importlib
import json
import logging
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path

PROTOCOL = 1
HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="only see if CellProfiler starts")
    options = parser.parse_args()
    die_with_parent()
    replies = claim_stdout()
    prepare_scratch(options.scratch)
    if options.check:
        start_cellprofiler()
        return
    requests = queue.Queue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    operations = start_cellprofiler()
    ready = {"cellprofiler": operations.VERSION, "protocol": PROTOCOL, "pid": os.getpid()}
    send(replies, {"ready": True, **ready})
    while True:
        request = requests.get()
        if request.get("op") == "exit":
            return
        for reply in operations.answers(request):
            send(replies, {"id": request.get("id"), **reply})
        release_memory()


def die_with_parent():
    """The kernel's own safety net; a closed stdin is what normally ends this process.

    It fires when the *thread* that started us ends, so that one must live as long as we do.
    """
    try:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # not Linux


def claim_stdout():
    """CellProfiler prints to stdout: keep the real one for replies, give it stderr."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def prepare_scratch(scratch):
    """A killed worker leaves files behind: start with an empty folder for temporary files."""
    temporary = scratch / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    # Outside tmp, because matplotlib takes seconds to list the fonts anew.
    os.environ["MPLCONFIGDIR"] = str(scratch / "matplotlib")
    os.environ["MPLBACKEND"] = "agg"
    # One image at a time, one core: several workers share the machine by processes.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"


def read_requests(requests):
    """Feed the queue; a closed stdin (or rubbish on it) ends the process, even mid-batch."""
    try:
        for line in sys.stdin.buffer:
            requests.put(json.loads(line))
    finally:
        os._exit(0)


def start_cellprofiler():
    """Import all of CellProfiler; only now, because the environment is set by now."""
    sys.path[:0] = [str(HERE), str(HERE / "standins")]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # On import it warns, with a traceback, of databases that are left out on purpose.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    preferences = importlib.import_module("cellprofiler_core.preferences")
    preferences.set_headless()
    preferences.set_awt_headless(True)
    # Without it one bad image ends the whole batch.
    preferences.set_always_continue(True, globally=False)
    preferences.set_temporary_directory(tempfile.tempdir)
    operations = importlib.import_module("operations")
    logging.disable(logging.NOTSET)
    # All this stays: to look through it after each batch would take as long as an image.
    gc.collect()
    gc.freeze()
    return operations


def release_memory():
    """Without both of these the process is a quarter larger than it needs to be."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return  # not glibc


def send(replies, message):
    replies.write(json.dumps(message, allow_nan=False).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main()
