"""What the worker can be asked for.  Importing this starts CellProfiler."""

import logging

import cellprofiler_core
import cellprofiler_core.modules
import skimage.io
from images import save
from pipeline import PipelineError, load, measured_of, objects_of
from running import RunError, run

VERSION = cellprofiler_core.__version__

skimage.io.imsave = save


def answer(request):
    """The reply to one request, without its id."""
    try:
        return {"ok": True, **OPERATIONS[request["op"]](request)}
    except PipelineError as error:
        return {"ok": False, "kind": "pipeline", "error": str(error)}
    except RunError as error:
        return {"ok": False, "kind": "run", "error": str(error)}
    except Exception as error:
        logging.exception("the request failed")
        return {"ok": False, "kind": "worker", "error": f"{type(error).__name__}: {error}"}


def validate(request):
    pipeline, source, sha256 = load(request["pipeline"])
    return {
        "sha256": sha256,
        "modules": [module.module_name for module in pipeline.modules() if module is not source],
        "images": list(source.kinds),
        "objects": objects_of(pipeline),
        "measured": measured_of(pipeline),
    }


def run_batch(request):
    pipeline, source, sha256 = load(request["pipeline"])
    if request["sha256"] not in (None, sha256):
        raise PipelineError("the file has changed since it was checked")
    images = run(pipeline, source, request["images"], request["output"])
    return {"sha256": sha256, "images": images}


OPERATIONS = {"validate": validate, "run": run_batch}
