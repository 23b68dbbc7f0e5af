"""`python -m spheroidd` is the command `spheroidd`."""

from spheroidd.cli import main

main()
