"""The real worker as CellProfiler is by itself: whole images, measurements in HDF5.

Started like `worker.py`, with the path of that as its first argument.
"""

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(sys.argv.pop(1)).parent))
    import worker

    start = worker.start_cellprofiler

    def start_plain() -> object:
        operations = start()
        import pipeline
        import running
        from cellprofiler_core.measurement import Measurements

        pipeline.fit_for_crop = lambda *_: False
        running.PlacedMeasurements = lambda: Measurements(mode="memory")
        return operations

    worker.start_cellprofiler = start_plain
    worker.main()


if __name__ == "__main__":
    main()
