"""Runs under CellProfiler's Python: pipelines over images, with a watch on every step.

    python modules_inside.py WORKER_FOLDER SCRATCH < plan.json > times.json

The plan is a list of {"pipeline": path, "batches": [[image set]]}, see the worker's `run`.  For
each of them a list comes back, one per batch, of {step: [wall seconds, CPU seconds, how often]}.
It imports the worker's own modules and nothing of spheroidd.
"""

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ALL = "the whole batch"


class Watch:
    """Adds up what each step takes, without the steps inside it."""

    def __init__(self):
        self.steps = {}
        self._inside = []

    @contextmanager
    def step(self, name):
        began = time.perf_counter(), time.process_time()
        self._inside.append([0.0, 0.0])
        try:
            yield
        finally:
            taken = time.perf_counter() - began[0], time.process_time() - began[1]
            inner = self._inside.pop()
            if self._inside:
                self._inside[-1] = [a + b for a, b in zip(self._inside[-1], taken, strict=True)]
            wall, cpu, times = self.steps.get(name, (0.0, 0.0, 0))
            own = taken if name == ALL else (taken[0] - inner[0], taken[1] - inner[1])
            self.steps[name] = (wall + own[0], cpu + own[1], times + 1)

    def over(self, owner, attribute, name):
        """Have a step of this name for every call of a function."""
        function = getattr(owner, attribute)

        def watched(*arguments, **options):
            with self.step(name(*arguments) if callable(name) else name):
                return function(*arguments, **options)

        setattr(owner, attribute, watched)


def main():
    folder, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, str(folder))
    import worker

    worker.HERE = folder
    worker.prepare_scratch(scratch)
    operations = worker.start_cellprofiler()
    import pipeline
    import running

    watch = Watch()
    watch.over(
        pipeline.RecordingPipeline,
        "run_module",
        lambda _, module, __: f"{module.module_num} {module.module_name}",
    )
    watch.over(running, "outcome", "numbers out of the measurements")
    watch.over(running, "keep_labels", "labels picture")
    watch.over(operations, "load", "the pipeline's file read and checked")
    times = []
    for job in json.load(sys.stdin):
        times.append([])
        for sets in job["batches"]:
            watch.steps = {}
            request = {"op": "run", "pipeline": job["pipeline"], "names": {}, "sha256": None}
            request |= {"output": str(scratch), "images": sets, "labels_of": "Spheroids"}
            with watch.step(ALL):
                said = list(operations.answers(request))
                with watch.step("JSON"):
                    text = [json.dumps(one, allow_nan=False) for one in said]
                with watch.step("memory handed back"):
                    worker.release_memory()
            assert said[-1]["ok"], text
            outcomes = [one for reply in said for one in reply["images"].values()]
            assert not [one["error"] for one in outcomes if one["error"]], text
            for one in outcomes:
                Path(one["labels"]).unlink()
            times[-1].append(watch.steps)
    json.dump(times, replies)


if __name__ == "__main__":
    main()
