"""The program itself, which waits for folders no longer than it is told.

    python tests/service/short_of_patience.py SECONDS run -c config.yaml

The program knows nothing of it: half a minute is right for a share and too long for a test.
"""

import sys

from spheroidd.cli import main
from spheroidd.intake import answers

answers.NO_ANSWER_SECONDS = float(sys.argv.pop(1))
main()
