"""The real worker, which dies of one kind of image: a mask with the grey value 77.

Started like `worker.py`, with the path of that as its first argument.
"""

import os
import signal
import sys
from pathlib import Path

POISON = 77


def main() -> None:
    sys.path.insert(0, str(Path(sys.argv.pop(1)).parent))
    import worker

    start = worker.start_cellprofiler

    def start_with_poison() -> object:
        operations = start()
        import images

        read = images.read

        def read_or_die(path: Path) -> object:
            pixels = read(path)
            if (pixels == POISON).any():
                os.kill(os.getpid(), signal.SIGKILL)
            return pixels

        images.read = read_or_die
        return operations

    worker.start_cellprofiler = start_with_poison
    worker.main()


if __name__ == "__main__":
    main()
