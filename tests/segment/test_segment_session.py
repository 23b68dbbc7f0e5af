"""The warm session with the real U²-Net-p: against rembg, real images, and bad inputs."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import rembg
from accelerated import LOST, OUT_OF_MEMORY, Hours, again
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from PIL import Image

from spheroidd.errors import AcceleratorLostError, ModelError
from spheroidd.segment import models
from spheroidd.segment.accelerator import RETRY_SECONDS
from spheroidd.segment.finding import Finder
from spheroidd.segment.mask import on_white
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import RembgSession, open_session

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


def disc(height: int = 200, width: int = 300) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    noise = np.random.default_rng(3).normal(0, 4, (height, width))
    ground = np.where((y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2, 70, 190)
    return np.clip(ground + noise, 0, 255).astype(np.uint8)


def test_raw_output_stretched_is_rembgs_own_mask(session, home, monkeypatch) -> None:
    """The only difference from rembg is the stretch and the resizing that we leave out."""
    monkeypatch.setenv("REMBG_HOME", str(home))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    picture = Image.fromarray(disc())
    theirs = rembg.new_session("u2netp", providers=["CPUExecutionProvider"]).predict(picture)[0]
    raw = session.raw(disc())
    stretched = (raw - raw.min()) / (raw.max() - raw.min())
    ours = Image.fromarray((stretched * 255).astype(np.uint8))
    ours = ours.resize(picture.size, Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(ours, int) - np.asarray(theirs, int))
    assert difference.max() <= 1  # one level of 255, for threads that add in another order


def test_masks_of_real_images_are_those_of_plain_rembgs_probabilities(
    session, home, real_data, monkeypatch
) -> None:
    monkeypatch.setenv("REMBG_HOME", str(home))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    plain = rembg.new_session("u2netp", providers=["CPUExecutionProvider"])
    frames = sorted((real_data / "cell-iq-timelapse" / "export").rglob("*.jpg"))[::10]
    frames += sorted((real_data / "mcf7-timelapse" / "images").iterdir())[::12]
    for frame in frames:
        with Image.open(frame) as opened:
            picture = opened.convert("RGB")
        feeds = plain.normalize(picture, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (320, 320))
        raw = Image.fromarray(plain.inner_session.run(None, feeds)[0][0, 0])
        theirs = np.asarray(raw.resize(picture.size, Image.Resampling.BILINEAR)) > 0.5
        ours = session.probabilities(np.asarray(picture)) > 0.5
        assert theirs.any()
        assert (theirs & ours).sum() >= 0.995 * (theirs | ours).sum()


def test_probabilities_have_the_images_shape_and_range(session) -> None:
    grey = disc()
    found = session.probabilities(grey)
    assert (found.dtype, found.shape) == (np.float32, grey.shape)
    assert found.min() >= 0
    assert 0.9 < found.max() <= 1
    assert found[100, 150] > 0.9
    assert found[5, 5] < 0.05
    colour = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    assert np.allclose(session.probabilities(colour), found, atol=1e-4)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_holds_nothing(session, level: int) -> None:
    found = session.probabilities(np.full((120, 160), level, np.uint8))
    assert np.isfinite(found).all()
    assert found.max() < 0.2


def test_an_empty_noisy_field_holds_nothing(session) -> None:
    noise = np.random.default_rng(0).normal(170, 6, (270, 480))
    field = np.clip(noise, 0, 255).astype(np.uint8)
    found = Finder(session, None, 0.5).find(field)
    assert found.peak < 0.05
    assert not found.mask.any()
    assert (on_white(field, found.alpha) == 255).all()


def test_the_empty_corners_of_real_frames_hold_nothing(session, real_data) -> None:
    frames = sorted((real_data / "cell-iq-timelapse" / "export").rglob("*.jpg"))
    for frame in (frames[0], frames[-1]):
        corner = np.asarray(Image.open(frame).convert("RGB"))[:160, :240]
        assert session.probabilities(corner).max() < 0.1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint16),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9), np.float32),
        np.zeros(9, np.uint8),
    ],
    ids=["16 bit", "alpha", "float", "1-D"],
)
def test_only_8_bit_grey_or_colour_is_taken(session, image) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        session.probabilities(image)


def test_threads_share_one_session(session) -> None:
    images = [np.roll(disc(), shift, axis=1) for shift in (0, 40, -40)]
    alone = [session.probabilities(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(session.probabilities, images))
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_opening_says_what_it_runs_on_and_puts_the_environment_back(
    u2netp, home, session, monkeypatch
) -> None:
    monkeypatch.setenv("REMBG_HOME", "/somewhere/else")
    monkeypatch.setenv("U2NET_HOME", "/somewhere/older")
    opened = open_session(
        u2netp,
        home=home,
        device="cpu",
        require=True,
        threads=1,
        warn=pytest.fail,
    )
    assert opened.provider == "CPU"
    assert opened.model == u2netp
    assert os.environ["REMBG_HOME"] == "/somewhere/else"
    assert os.environ["U2NET_HOME"] == "/somewhere/older"
    image = disc()
    assert np.allclose(opened.probabilities(image), session.probabilities(image), atol=1e-4)


@pytest.mark.skipif(not NO_CUDA, reason="this machine's onnxruntime offers CUDA")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_require_refuses_the_cpu(u2netp, home, device) -> None:
    with pytest.raises(ModelError) as caught:
        open_session(u2netp, home=home, device=device, require=True, warn=pytest.fail)
    assert "offers no CUDA" in caught.value.message
    assert "require: false" in caught.value.hint


@pytest.mark.skipif(not NO_CUDA, reason="this machine's onnxruntime offers CUDA")
def test_auto_is_content_with_the_cpu_and_an_explicit_wish_warns(u2netp, home, told) -> None:
    assert "CUDA" not in open_session(u2netp, home=home, warn=told.append).provider
    assert told == []
    opened = open_session(u2netp, home=home, device="cuda", warn=told.append)
    assert opened.provider == "CPU"
    assert "offers no CUDA" in told[0]
    assert "spheroidd[gpu]" in told[0]


@pytest.mark.skipif(not NO_CUDA, reason="this machine's onnxruntime offers CUDA")
def test_an_accelerator_that_is_offered_but_does_not_start(u2netp, home, told, monkeypatch) -> None:
    """What onnxruntime-gpu does without CUDA's libraries: offer it, then run on the CPU."""
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    assert open_session(u2netp, home=home, device="cuda", warn=told.append).provider == "CPU"
    assert "CUDA failed: u2netp could not be loaded: it did not start" in told[0]
    with pytest.raises(ModelError, match="it did not start"):
        open_session(u2netp, home=home, require=True, warn=pytest.fail)


def test_weights_that_went_away_are_not_downloaded(u2netp, tmp_path) -> None:
    path = models.weights_path("u2netp", tmp_path)
    path.parent.mkdir(parents=True)
    shutil.copyfile(u2netp.path, path)
    model = models.resolve("u2netp", tmp_path)
    path.unlink()
    with pytest.raises(ModelError, match="gone"):
        open_session(model, home=tmp_path, device="cpu", warn=pytest.fail)
    assert not path.exists()


def test_a_local_file_and_an_import_run(u2netp, session, tmp_path) -> None:
    copy = tmp_path / "elsewhere" / "own.onnx"
    copy.parent.mkdir()
    shutil.copyfile(u2netp.path, copy)
    home = tmp_path / "home"
    image = disc()
    expected = session.probabilities(image)
    for model in (models.resolve(str(copy), home), models.import_file(copy, home, name="own")):
        opened = open_session(model, home=home, device="cpu", warn=pytest.fail)
        assert np.allclose(opened.probabilities(image), expected, atol=1e-4)


def test_half_precision_input_is_fed_half_precision(
    tmp_path: Path, onnx_file: Callable[..., Path]
) -> None:
    model = models.resolve(str(onnx_file("Sigmoid", 320, half=True)), tmp_path)
    opened = open_session(model, home=tmp_path, device="cpu", warn=pytest.fail)
    assert opened.probabilities(disc()).dtype == np.float32


@pytest.mark.parametrize("operator", ["Identity", "Log"], ids=["not squashed", "not finite"])
def test_output_that_is_no_probability_is_an_error(
    tmp_path: Path, onnx_file: Callable[..., Path], operator: str
) -> None:
    model = models.resolve(str(onnx_file(operator, 320)), tmp_path)
    with pytest.raises(ModelError, match="no probabilities"):
        open_session(model, home=tmp_path, device="cpu", warn=pytest.fail)


# -- an accelerator that fails in mid-run -----------------------------------------------------


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, LOST], ids=["out of memory", "lost"])
def test_one_failure_of_the_accelerator_costs_no_image(gpu, on_gpu, session, told, error) -> None:
    opened = on_gpu(require=True)
    assert (opened.provider, gpu.opened) == ("CUDA", 1)
    gpu.failures = [error]
    found = opened.probabilities(disc())
    assert np.allclose(found, session.probabilities(disc()), atol=1e-4)
    assert (opened.provider, opened.trouble, gpu.opened) == ("CUDA", "", 2)
    assert gpu.at_once == 1, "what failed was freed before it was loaded again"
    assert "CUDA failed" in told[0]
    assert str(error)[-30:] in told[0]


def test_a_lost_accelerator_falls_back_to_the_cpu_loudly(gpu, on_gpu, session, told) -> None:
    opened = on_gpu()
    finder = Finder(session, opened, 0.5)
    assert finder.trouble == ""
    gpu.gone = True
    found = opened.probabilities(disc())
    assert np.allclose(found, session.probabilities(disc()), atol=1e-4)
    assert opened.provider == "CPU"
    assert opened.trouble.startswith("accelerator lost since 20")
    assert finder.trouble == opened.trouble
    assert "CUDA failure 719" in told[-1]
    assert not gpu.alive, "nothing of it is kept in memory"
    before = (len(told), gpu.opened)
    opened.probabilities(disc())
    assert (len(told), gpu.opened) == before, "told once, and not tried for every image"


def test_what_is_stored_names_the_provider_that_made_it(gpu, on_gpu, tiny, tmp_path) -> None:
    recipe = Recipe(Finder(on_gpu(tiny), None, 0.5, refine=False), "0")

    def provider() -> str | None:
        paths = Path("mask.png"), Path("white.png")
        return recipe.apply(disc(), tmp_path, *paths, 0.0).provider

    assert provider() == "CUDA"
    gpu.gone = True
    assert provider() == "CPU"


def test_an_accelerator_that_fails_again_soon_is_not_loaded_for_every_image(
    gpu, on_gpu, tiny
) -> None:
    opened = on_gpu(tiny)
    opened._clock = clock = Hours()
    for _ in range(2):
        gpu.failures = [OUT_OF_MEMORY]
        opened.probabilities(disc())
        clock.now += 60
    assert (opened.provider, gpu.opened) == ("CPU", 2)


def test_an_accelerator_that_comes_back_is_taken_back(gpu, on_gpu, tiny, told) -> None:
    opened = on_gpu(tiny)
    opened._clock = clock = Hours()
    gpu.gone = True
    opened.probabilities(disc())
    lost = opened.trouble
    clock.now += RETRY_SECONDS + 1
    opened.probabilities(disc())
    assert (opened.provider, opened.trouble) == ("CPU", lost), "still gone"
    gpu.gone = False
    clock.now += RETRY_SECONDS - 1
    opened.probabilities(disc())
    assert opened.provider == "CPU", "not yet tried again"
    clock.now += 2
    opened.probabilities(disc())
    assert (opened.provider, opened.trouble) == ("CUDA", "")
    assert "is back" in told[-1]


def test_where_the_accelerator_is_required_its_loss_ends_the_service(gpu, on_gpu, tiny) -> None:
    opened = on_gpu(tiny, require=True)
    gpu.gone = True
    for _ in range(2):
        with pytest.raises(AcceleratorLostError, match=r"CUDA failure 719|failed before") as caught:
            opened.probabilities(disc())
        assert caught.value.fatal
        assert not isinstance(caught.value, ModelError), "or it would be the image's failure"
    assert opened.provider == "CUDA", "nothing ran on the CPU"


def test_where_the_cpu_can_not_take_over_no_image_is_blamed(
    gpu, u2netp, home, tmp_path, told
) -> None:
    path = models.weights_path("u2netp", tmp_path)
    path.parent.mkdir(parents=True)
    shutil.copyfile(u2netp.path, path)
    opened = open_session(models.resolve("u2netp", tmp_path), home=tmp_path, warn=told.append)
    gpu.gone = True
    path.unlink()
    with pytest.raises(AcceleratorLostError, match=r"can't take over.*gone"):
        opened.probabilities(disc())


def test_an_error_on_the_cpu_is_that_images_own(gpu, on_gpu, tiny, home, monkeypatch) -> None:
    """Whether it always ran there or came there when the accelerator was lost."""
    always = open_session(tiny, home=home, device="cpu", warn=pytest.fail)
    fallen = on_gpu(tiny)
    gpu.gone = True
    fallen.probabilities(disc())
    for opened, inner in ((always, always), (fallen, fallen._session)):
        with monkeypatch.context() as patch:
            patch.setattr(inner, "_inner", Failing())
            with pytest.raises(ModelError, match="failed on CPU"):
                opened.probabilities(disc())
        assert opened.probabilities(disc()).shape == disc().shape, "the next one goes well"


def test_an_input_that_does_not_fit_is_no_trouble_of_the_device(gpu, on_gpu, tiny) -> None:
    opened = on_gpu(tiny)
    gpu.failures = [onnx_errors.InvalidArgument("Got invalid dimensions for input")]
    with pytest.raises(ModelError, match="invalid dimensions"):
        opened.probabilities(disc())
    assert (opened.provider, gpu.opened) == ("CUDA", 1)


class Failing:
    def io_binding(self) -> object:
        raise again(OUT_OF_MEMORY)


def test_threads_share_an_accelerator_and_its_loss(gpu, on_gpu, tiny, told) -> None:
    """It fails for one, then for all: each image has its map, and it is loaded again once."""
    opened = on_gpu(tiny)
    expected = opened.probabilities(disc())
    gpu.slow = 0.02
    with ThreadPoolExecutor(4) as pool:

        def together() -> list[np.ndarray]:
            return list(pool.map(opened.probabilities, [disc()] * 12))

        gpu.failures = [OUT_OF_MEMORY]
        found = together()
        assert (opened.provider, gpu.opened, gpu.at_once) == ("CUDA", 2, 1)
        gpu.gone = True
        found += together()
    assert all(np.array_equal(one, expected) for one in found)
    assert (opened.provider, gpu.opened) == ("CPU", 2)
    assert len(told) == 2, "loaded again, and lost: each told once"
    assert not gpu.alive


@pytest.mark.slow
def test_the_default_family_runs_where_it_was_fetched(home, real_data) -> None:
    """ISNet with half-precision weights, on two frames; AGPL, so never fetched by a test."""
    try:
        model = models.resolve("isnet-imgly-fp16", home)
    except ModelError as error:
        pytest.skip(str(error))
    opened: RembgSession = open_session(model, home=home, device="cpu", warn=pytest.fail)
    frames = sorted((real_data / "cell-iq-timelapse" / "export").rglob("*.jpg"))
    for frame, area in ((frames[0], 46315), (frames[2], 51643)):
        image = np.asarray(Image.open(frame).convert("RGB"))
        probabilities = opened.probabilities(image)
        assert probabilities.max() > 0.94
        assert np.count_nonzero(probabilities > 0.5) == pytest.approx(area, rel=0.15)
