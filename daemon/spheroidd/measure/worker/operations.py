"""What the worker can be asked for.  Importing this starts CellProfiler."""

import logging

import cellprofiler_core
import cellprofiler_core.modules
import skimage.io
from images import save
from pipeline import load, measured_of, objects_of
from running import RunError, run
from unattended import PipelineError

VERSION = cellprofiler_core.__version__

skimage.io.imsave = save


# Numbers in one reply: some 4 MB of JSON, a batch of a hundred images with a few objects each.
MOST_NUMBERS = 200_000


def answers(request):
    """The replies to one request, without its id; all but the last one say that more come."""
    try:
        for reply in OPERATIONS[request["op"]](request):
            yield {"ok": True, **reply}
    except PipelineError as error:
        yield {"ok": False, "kind": "pipeline", "error": str(error), "hint": error.hint}
    except RunError as error:
        yield {"ok": False, "kind": "run", "error": str(error)}
    except Exception as error:
        logging.exception("the request failed")
        yield {"ok": False, "kind": "worker", "error": f"{type(error).__name__}: {error}"}


def validate(request):
    pipeline, source, sha256 = load(request["pipeline"], request["names"])
    yield {
        "sha256": sha256,
        "modules": [module.module_name for module in pipeline.modules() if module is not source],
        "images": {name: offered for name, (offered, *_) in source.wanted.items()},
        "objects": objects_of(pipeline),
        "measured": measured_of(pipeline),
        "on_crop": source.on_crop,
    }


def run_batch(request):
    pipeline, source, sha256 = load(request["pipeline"], request["names"])
    if request["sha256"] not in (None, sha256):
        raise PipelineError("the file has changed since it was checked")
    images, numbers = {}, 0
    for key, outcome in run(
        pipeline, source, request["images"], request["output"], request.get("labels_of")
    ):
        images[key] = outcome
        for objects in outcome["objects"].values():
            numbers += objects["count"] * len(objects["features"])
        if numbers > MOST_NUMBERS:
            yield {"more": True, "images": images}
            images, numbers = {}, 0
    yield {"sha256": sha256, "images": images}


OPERATIONS = {"validate": validate, "run": run_batch}
