"""The real daemon, which waits two seconds for a locked database, not thirty.

python tests/service/impatient.py run -c config.yaml
"""

import sys

from spheroidd.cli import main
from spheroidd.store import database

if __name__ == "__main__":
    sys.argv[0] = "spheroidd"
    database.BUSY_SECONDS = 2.0
    main()
