"""The real daemon, which tries an engine that is down again after two seconds, not sixty.

python tests/service/hasty.py run -c config.yaml
"""

import sys

from spheroidd.cli import main
from spheroidd.measure import supervision

if __name__ == "__main__":
    sys.argv[0] = "spheroidd"
    supervision.LONGEST_BACK_OFF = 2.0
    main()
