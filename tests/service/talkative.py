"""The real daemon, whose alerts look every second and wait for hardly anything.

python tests/service/talkative.py run -c config.yaml
"""

import sys
from functools import partial

from spheroidd.alerts import stage
from spheroidd.alerts.seen import Timing
from spheroidd.cli import main

if __name__ == "__main__":
    sys.argv[0] = "spheroidd"
    timing = partial(Timing, look=1.0, slow=1.0, grace=2.0, brief=1.0, gather=1.0)
    stage.Timing = timing  # type: ignore[assignment,misc]
    main()
