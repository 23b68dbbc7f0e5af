"""Every problem at once, each with where, what was found and what to do."""

import sys
import traceback
from pathlib import Path

import pytest
import yaml

from spheroidd.config import PIPELINES, Config
from spheroidd.config_file import load_config
from spheroidd.errors import ConfigError
from spheroidd.home import installation_home
from spheroidd.intake.naming import check_pattern
from spheroidd.measure.pipelines import SHIPPED
from spheroidd.measure.quality import FLAGS

REPOSITORY = Path(__file__).resolve().parents[1]
GOOD = "watch: [{path: export}]\nstate_dir: state\n"


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path, check_pattern)


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_the_example_is_valid_and_its_comments_name_real_settings() -> None:
    text = (REPOSITORY / "config.example.yaml").read_text()
    assert load_config(REPOSITORY / "config.example.yaml", check_pattern).segmentation.model == (
        "isnet-general-use"
    )
    first, _, more = text.partition("# Everything else has a default; uncomment what you need.\n")
    uncommented = "\n".join(line.removeprefix("# ").removeprefix("#") for line in more.splitlines())
    everything = Config.model_validate(
        {**yaml.safe_load(uncommented), "state_dir": "/var/lib/spheroidd"}
    )
    assert everything.measurement.batch.max_images == 24
    assert len([line for line in first.splitlines() if line.strip() and line[0] != "#"]) <= 13


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "own.cppipe").touch()
    config = load(tmp_path, GOOD + "measurement: {pipeline: my/own.cppipe}\n")
    assert config.watch[0].path == tmp_path / "export"
    assert config.state_dir == tmp_path / "state"
    assert config.measurement.pipeline == str(tmp_path / "my/own.cppipe")
    assert load(tmp_path, GOOD).measurement.pipeline == "mask"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "watch:\n  - {path: a, observer: foo, settle_seconds: -1, extensions: [bmp], colour: red}\n"
        "segmentation: {threshold: 1.5}\nmeasurement: {workers: 99}\n",
    )
    for line in (
        "7 problems",
        "watch[0].observer is 'foo': choose one of 'auto', 'native' or 'polling'",
        "watch[0].settle_seconds is -1: must be greater than or equal to 0",
        "watch[0].extensions[0] is 'bmp': choose one of",
        "watch[0].colour is 'red': no such setting; known here are extensions,",
        "state_dir: this setting is needed",
        "segmentation.threshold is 1.5: must be less than 1",
        "measurement.workers is 99: must be auto, or a whole number from 1 to 16",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no settings"),
        ("- 1", "holds no settings"),
        ("watch: [", "not valid YAML"),
        (GOOD + "state_dir: other\n", "the key state_dir stands here twice (line 3, column 1)"),
        ("watch: []\nstate_dir: s\n", "watch"),
        ("watch: [{path: e}]\nstate_dir: e/s\n", "never writes where the instrument does"),
        ("watch: [{path: s/e}]\nstate_dir: s\n", "never writes where the instrument does"),
        ("watch: [{path: e}, {path: e/f}]\nstate_dir: s\n", "overlap, so images would count twice"),
        (GOOD + "segmentation: {model: none}\n", "measurement: the pipeline 'mask' needs a model"),
        (
            GOOD + "measurement: {pipeline: maks}\n",
            "measurement.pipeline is 'maks': no such pipeline; choose mask, white-background, thr",
        ),
        (GOOD + "measurement: {pipeline: own.cppipe}\n", "own.cppipe': no such pipeline"),
        (GOOD + "measurement: {pipeline: ''}\n", "measurement.pipeline is '': no such pipeline"),
        ("watch: [{path: e, pattern: '('}]\nstate_dir: s\n", "watch[0].pattern"),
        ("watch: [{path: e, pattern: '(?P<plate>.)/x'}]\nstate_dir: s\n", "well"),
        ("watch: [{path: e, timezone: Mars/Crater}]\nstate_dir: s\n", "not a time zone"),
        ("watch: [{path: e, interval_minutes: .inf}]\nstate_dir: s\n", "interval_minutes"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in problems(tmp_path, text)


def test_a_missing_file_says_where_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.example\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_it_is_frozen_and_its_dump_reads_back(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.state_dir = Path("/")  # type: ignore[misc]
    assert load(tmp_path, config.dump()) == config


def test_rules_between_settings_are_told_with_the_rest(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "watch: [{path: e}, {path: e/f}]\nstate_dir: e/s\nsegmentation: {model: none}\n"
        "logging: {level: loud}\n",
    )
    assert "4 problems" in told
    for line in (
        f"watch: {tmp_path}/e/f and {tmp_path}/e overlap",
        f"watch: state_dir {tmp_path}/e/s and the watched folder {tmp_path}/e overlap",
        "measurement: the pipeline 'mask' needs a model",
        "logging.level is 'loud': choose one of",
    ):
        assert line in told


def test_the_pipelines_are_those_that_ship() -> None:
    assert PIPELINES == SHIPPED


def test_the_installation_lies_beside_the_venv_if_it_was_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPHEROIDD_HOME", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert installation_home() == tmp_path / "venv" / "share" / "spheroidd"
    beside = tmp_path / "share" / "spheroidd"
    beside.mkdir(parents=True)
    assert installation_home() == beside
    monkeypatch.setenv("SPHEROIDD_HOME", str(tmp_path / "other"))
    assert installation_home() == tmp_path / "other"


def test_a_flags_limit_is_one_number_or_two_bounds(tmp_path: Path) -> None:
    flags = load(tmp_path, GOOD + "flags: {area_jump: 0.2, low_focus: [3, 3]}\n").flags
    assert flags.bounds()["area_jump"] == (0.2, 0.2)
    assert flags.bounds()["low_focus"] == (3, 3)
    assert set(FLAGS) - set(flags.bounds()) == {"no_spheroid"}
    for flag, (low, high) in load(tmp_path, GOOD).flags.bounds().items():
        assert 0 < low <= high, flag


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("area_jump: [0.3, 0.1]", "flags.area_jump: the lower bound comes first"),
        ("area_jump: -1", "flags.area_jump[0] is -1: must be greater than 0"),
        ("area_jump: .nan", "flags.area_jump[0] is nan: must be a finite number"),
        ("area_jump: [0.1]", "flags.area_jump[1]"),
        ("area_jump: [0.1, 0.2, 0.3]", "flags.area_jump"),
        ("low_solidity: [0.5, 1.5]", "flags.low_solidity[1] is 1.5: must be less than or equal"),
        ("low_focus: 0.5", "flags.low_focus[0] is 0.5: must be greater than or equal to 1"),
        ("ghost: 1", "flags.ghost is 1: no such setting; known here are ambiguous, area_jump,"),
    ],
)
def test_what_limits_are_refused(tmp_path: Path, setting: str, told: str) -> None:
    assert told in problems(tmp_path, GOOD + f"flags: {{{setting}}}\n")


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "alerts: {targets: ['slack://SECRET/a']}\n")
    assert config.alerts.targets == ("slack://SECRET/a",)
    assert "SECRET" not in config.dump()
    assert "slack://…" in config.dump()
    assert "SECRET" not in problems(tmp_path, GOOD + "alerts: {targets: {a: SECRET}}\n")
    assert "SECRET" not in problems(tmp_path, GOOD + "alerts: {target: SECRET}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Not whole, or not YAML, at the very place; PyYAML would show the line.
        ("alerts:\n  targets: [json://u:HUNTER2@h, 'json://x]\n", "a quoted scalar (line"),
        ("alerts:\n\ttargets: [json://u:HUNTER2@h]\n", "cannot start any token (line 4, column 1)"),
        ("alerts:\n  targets: json://u:HUNTER2@h: x\n", "are not allowed here (line 4"),
        ("alerts: {json://u:HUNTER2@h, json://u:HUNTER2@h}\n", "the key stands here twice (line 3"),
        ("alerts: *HUNTER2\n", "found undefined alias … (line 3, column 9)"),
        ("alerts: !HUNTER2 x\n", "for the tag … (line 3, column 9)"),
        ("alerts: !!float HUNTER2\n", "looks like (ValueError) (line 3, column 9)"),
        ("alerts: 2001-99-99 # HUNTER2\n", "looks like (ValueError) (line 3, column 9)"),
        ("alerts: \a HUNTER2\n", "its character number 50 is not allowed in YAML"),
        # A mistyped name, or the wrong place.
        ("alert: {targets: [HUNTER2]}\n", "alert: no such setting"),
        ("alert: HUNTER2\n", "alert: no such setting"),
        ("backup: {targets: [HUNTER2]}\n", "backup.targets: no such setting"),
        ("backup: {targets: 'mailto:u:HUNTER2@h'}\n", "backup.targets: no such setting"),
        ("monitor: [HUNTER2]\n", "monitor: must be"),
        ("alerts: {json://u:HUNTER2@h: 1}\n", "alerts.…: no such setting"),
    ],
)  # fmt: skip
def test_no_message_shows_what_may_be_a_secret(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD + text)
    assert told in str(caught.value)
    trace = "".join(traceback.format_exception(caught.value))
    assert "HUNTER2" not in trace


def test_of_an_address_no_more_than_its_scheme_is_shown(tmp_path: Path) -> None:
    targets = ["mailto:u:HUNTER2@h", "HUNTER2", " json://HUNTER2", "HUNTER2 x://y", "://HUNTER2"]
    config = load(tmp_path, GOOD + f"alerts: {{targets: {targets}}}\n")
    assert config.alerts.model_dump()["targets"] == ["…", "…", "json://…", "…", "…"]
    assert "HUNTER2" not in config.dump() + repr(config)


def test_backups_stay_out_of_watched_folders(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD + "backup: {folder: export/backups}\n")
    assert "never writes where the instrument does" in told


@pytest.mark.parametrize("times", ["22-7", "22:00", "25:00-07:00", "late"])
def test_quiet_hours_are_two_times_of_day(tmp_path: Path, times: str) -> None:
    assert "such as 22:00-07:00" in problems(
        tmp_path, GOOD + f"alerts: {{quiet_hours: '{times}'}}\n"
    )


def test_settings_are_named_for_the_section_they_belong_to(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "watch: [{path: e, colour: 1}]\nstate_dir: s\nstyle: 1\n"
        "measurement: {batch: {size: 1}, kind: 1}\n",
    )
    for line in (
        "watch[0].colour is 1: no such setting; known here are extensions,",
        "style: no such setting; known here are alerts, backup,",
        "measurement.batch.size is 1: no such setting; known here are max_images, max_wait",
        "measurement.kind is 1: no such setting; known here are batch, images,",
    ):
        assert line in told
