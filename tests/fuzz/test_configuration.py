"""Any file at all in place of the configuration: settings, or a ConfigError in words."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hardness import examples
from hypothesis import given
from hypothesis import strategies as st

from spheroidd.config import Config
from spheroidd.config_file import load_config
from spheroidd.errors import ConfigError
from spheroidd.intake.naming import check_pattern

GOOD = "watch:\n  - path: /x\nstate_dir: /y\n"
REPOSITORY = Path(__file__).resolve().parents[2]
# Without its comments, which take most of the time to read.
EXAMPLE = [
    line.split("  #")[0]
    for line in (REPOSITORY / "config.example.yaml").read_text().splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]


def read(path: Path, content: str | bytes) -> Config | str:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    path.write_bytes(raw)
    try:
        return load_config(path, check_pattern)
    except ConfigError as error:
        words = str(error)
        words.encode()  # a terminal can show it
        assert str(path) in words
        return words


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates(),
    st.binary(max_size=5),
    st.sampled_from(["/x", "auto", "cell-iq", "(", "~", "..", "\0", "\ud800", 10**30, -1, 1e-320]),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from(
        [
            *("watch", "state_dir", "segmentation", "measurement", "path", "pattern", "batch"),
            *("extensions", "observer", "settle_seconds", "interval_minutes", "pixel_size_um"),
            *("model", "device", "threshold", "pipeline", "max_images", "workers", "images"),
            *Config.model_fields,
        ]
    ),
    SCALARS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(settings=st.dictionaries(KEYS, VALUES, max_size=5), whole=st.booleans())
@examples(150)
def test_any_settings_are_taken_or_refused(
    tmp_path: Path, settings: dict[Any, Any], whole: bool
) -> None:
    given_settings = {**yaml.safe_load(GOOD), **settings} if whole else settings
    try:
        text = yaml.safe_dump(given_settings, allow_unicode=True)
    except yaml.YAMLError:
        return  # YAML has no words for it
    read(tmp_path / "c.yaml", text)


@given(draw=st.data())
@examples(120)
def test_a_damaged_example_is_taken_or_refused(tmp_path: Path, draw: st.DataObject) -> None:
    lines = list(EXAMPLE)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        where = draw.draw(st.integers(0, len(line)))
        piece = draw.draw(st.sampled_from(PIECES) | st.text(max_size=4))
        lines[at] = line[:where] + piece + line[where:]
    read(tmp_path / "c.yaml", "\n".join(lines))


PIECES = [
    *("!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "&a "),
    *("*a", "!!python/object/apply:os.system [x]", "<<: *a", "[", "]", "{", "}", ": ", "- ", "? "),
    *("|", ">", "'", '"', "#", "%", "@", "`", "\t", "\n", "---", "...", "~", ".nan", ".inf", "0x"),
    *("2001-99-99", "\x00", "\ufeff", "\u2028", "\ud800", "1" * 5000, "1:99", "\\", "!", "!<x>"),
]  # fmt: skip


@given(content=st.binary(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@examples(200)
def test_any_bytes_are_refused(tmp_path: Path, content: str | bytes) -> None:
    assert isinstance(read(tmp_path / "c.yaml", content), str)


@pytest.mark.parametrize(
    "text",
    [
        "!!set ---", "!!map x", "!!omap x",
        "!!int ''", "!!bool x", "!!float x", "a: 2001-99-99", "!!timestamp x", "!!binary 'é'",
        "a: " + "1" * 5000, "? [a]\n: b", "&a [*a]", "&a {watch: *a}", "[" * 1200, "{" * 1200,
        "--- a\n--- b", "%YAML 3.0\n---\na", GOOD + "segmentation: !!set {a, b}\n",
        GOOD + "1: 2\n", GOOD + "? !!binary aGk=\n: 3\n", GOOD + "2001-01-01: 3\n",
        'watch:\n  - path: "\\ud800"\nstate_dir: /y\nx: 1\n',
        'watch:\n  - path: /x\n    timezone: "\\0"\nstate_dir: /y\n',
        "watch:\n  - path: /x\n    timezone: ../../etc/passwd\nstate_dir: /y\n",
    ],
)  # fmt: skip
def test_what_yaml_itself_stumbles_over(tmp_path: Path, text: str) -> None:
    assert isinstance(read(tmp_path / "c.yaml", text), str)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{file}']]",
        "!!python/object/new:os.system ['touch {file}']",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_tags_that_would_run_something_are_refused(tmp_path: Path, tag: str) -> None:
    payload = tmp_path / "payload"
    words = read(tmp_path / "c.yaml", GOOD + "x: " + tag.format(file=payload))
    assert "could not determine a constructor" in str(words)
    assert not payload.exists()


LAUGHS = "l0: &l0 [ha]\n" + "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGES = "b0: &b0 {a: 1}\n" + "".join(
    f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)
READING = """
import resource, sys
from pathlib import Path
from spheroidd.config_file import load_config
from spheroidd.errors import ConfigError
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    load_config(Path(sys.argv[1]))
except ConfigError as error:
    print(str(error)[:3000])
"""


@pytest.mark.parametrize("bomb", [LAUGHS + "watch: *l29\nstate_dir: *l29\n", MERGES])
def test_yaml_that_grows_without_end_is_refused(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(bomb)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", READING, str(path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "aliases" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10


def test_an_anchor_for_what_several_folders_share_is_fine(tmp_path: Path) -> None:
    text = (
        "watch:\n  - &usual {path: /x, settle_seconds: 3}\n  - {<<: *usual, path: /z}\n"
        "state_dir: /y\n"
    )
    config = read(tmp_path / "c.yaml", text)
    assert isinstance(config, Config)
    assert [watch.settle_seconds for watch in config.watch] == [3, 3]
