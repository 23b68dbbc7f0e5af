"""No shell, no pickle, nothing that is data becomes code: in the source, and when it is tried."""

import ast
import io
import json
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from spheroidd.measure import environment
from spheroidd.measure.batches import Rule
from spheroidd.measure.engine import ImageOutcome
from spheroidd.measure.outcome import Protocol, Work, result_of
from spheroidd.store.folder import StateFolder
from spheroidd.store.images import Image
from spheroidd.store.results import SegmentationRecord

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
WORKER = DAEMON / "spheroidd" / "measure" / "worker"
SOURCES = sorted(DAEMON.rglob("*.py"))

# Modules that run what they read, or hand it to a shell.
NO_IMPORTS = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "pty",
    "commands", "code", "codeop", "runpy", "imp",
}  # fmt: skip
NO_CALLS = {
    "eval", "exec", "compile", "__import__", "system", "popen", "getoutput", "getstatusoutput",
    "create_subprocess_shell", "mktemp", "execfile", "unsafe_load", "full_load", "load_all",
    "read_pickle", "to_pickle", "literal_eval",
}  # fmt: skip
ALLOWED = {"re.compile"}


def name_of(node: ast.expr) -> str:
    return ast.unparse(node)


def wrongs(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"imports {n}" for n in names if n.split(".")[0] in NO_IMPORTS)
        elif isinstance(node, ast.Call):
            yield from wrong_call(node)


def wrong_call(node: ast.Call) -> Iterator[str]:
    called = name_of(node.func)
    last = called.rpartition(".")[2]
    keywords = {one.arg: name_of(one.value) for one in node.keywords}
    if last in NO_CALLS and called not in ALLOWED:
        yield f"calls {called}"
    if called.startswith("os.") and last.startswith(("exec", "spawn", "posix_spawn")):
        yield f"calls {called}"
    if keywords.get("shell", "False") != "False":
        yield f"{called} with a shell"
    text = node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp)
    if called.startswith("subprocess.") and text:
        yield f"{called} with a text for its command"
    arrays = called in ("np.load", "numpy.load", "np.save", "numpy.save")
    if arrays and keywords.get("allow_pickle") != "False":
        yield f"{called} without allow_pickle=False"
    if called == "yaml.load" and keywords.get("Loader") != "_StrictLoader":
        yield "yaml.load with another loader than the strict one, which is a safe one"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(DAEMON)))
def test_the_source_runs_nothing_it_reads(path: Path) -> None:
    assert list(wrongs(path.read_text())) == []


def test_the_strict_loader_of_yaml_is_a_safe_one() -> None:
    import yaml

    from spheroidd import config_file

    assert issubclass(config_file._StrictLoader, yaml.SafeLoader)
    assert not issubclass(config_file._StrictLoader, yaml.Loader | yaml.FullLoader)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval(x)", "os.system('ls')", "os.popen(x)",
        "subprocess.run(x, shell=True)", "subprocess.run(f'ls {x}')", "subprocess.Popen('ls')",
        "np.load(x)", "np.load(x, allow_pickle=True)", "np.save(x, y)", "yaml.load(x, Loader=L)",
        "yaml.unsafe_load(x)", "compile(x, y, 'exec')", "os.execv(x, y)", "ast.literal_eval(x)",
    ],
)  # fmt: skip
def test_the_test_above_would_see_it(source: str) -> None:
    assert len(list(wrongs(source))) == 1


# -- a payload, tried ------------------------------------------------------------------------


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.target,))


def raw_pickle(target: Path) -> bytes:
    return pickle.dumps(Payload(target))


def object_array(target: Path) -> bytes:
    stream = io.BytesIO()
    array = np.empty((), object)
    array[()] = Payload(target)
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def object_fields(target: Path) -> bytes:
    stream = io.BytesIO()
    array = np.empty(2, [("a", "u1"), ("b", object)])
    array["b"] = [Payload(target), 1]
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def zipped(target: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("arr_0.npy", object_array(target))
    return stream.getvalue()


def lying_header(target: Path) -> bytes:
    """It promises more than there is, and its header is an expression."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (open({str(target)!r}, 'w'), 9)}}"
    padded = header.ljust(118 + 64 * (len(header) // 64)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


def endless(_: Path) -> bytes:
    header = (
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000)}".ljust(117) + "\n"
    )
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


PAYLOADS = [raw_pickle, object_array, object_fields, zipped, lying_header, endless]


def test_the_payload_would_work_where_pickles_are_allowed(tmp_path: Path) -> None:
    for number, make in enumerate((raw_pickle, object_array, object_fields)):
        target, path = tmp_path / f"touched {number}", tmp_path / "x.npy"
        path.write_bytes(make(target))
        np.load(path, allow_pickle=True)
        assert target.exists(), "else the tests below prove nothing"


@pytest.mark.parametrize("make", PAYLOADS)
def test_the_daemon_refuses_it_as_that_images_failure(
    tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    target, original, labels = (tmp_path / n for n in ("touched", "1.npy", "labels-1.png"))
    original.write_bytes(make(target))
    Pillow.fromarray(np.eye(30, dtype=np.uint16)).save(labels)
    image = Image(
        1, "/e", "/e/P/A1/1.jpg", 1, 1, 1, "segmented", "P", "A1", "1.jpg", 1, None, "x", 30, 30,
        None, None, 0,
    )  # fmt: skip
    record = SegmentationRecord("none", "", 0.5, "CPU", None, 7, None, None, 0.1, "0")
    outcome = ImageOutcome("k", None, {"Spheroids": [{"AreaShape_Area": 9.0}]}, {}, labels)
    result = result_of(
        Work(image, record, original), outcome,
        Protocol(Path("/p"), "mask", "f", "Spheroids", Rule(8, 1.0), "0"), 1,
        StateFolder(tmp_path / "state"),
    )  # fmt: skip
    assert isinstance(result, str)
    assert "can't be used" in result
    assert not target.exists()


READING = """
import json, pathlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/standins"]
from images import read
said = []
for path in sys.argv[2:]:
    try:
        said.append(f"it was read: {read(pathlib.Path(path))}")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


def test_the_worker_refuses_it_too(tmp_path: Path, home: Path) -> None:
    """In CellProfiler's own environment, with its own numpy."""
    python = environment.install(home, report=print)
    target = tmp_path / "touched"
    for make in PAYLOADS:
        (tmp_path / f"{make.__name__}.npy").write_bytes(make(target))
    paths = sorted(tmp_path.glob("*.npy"))
    done = subprocess.run(
        [str(python), "-I", "-c", READING, str(WORKER), *map(str, paths)],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said) == len(PAYLOADS)
    assert not [words for words in said if words.startswith("it was read")]
    assert not target.exists()
