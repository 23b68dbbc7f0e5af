"""spheroidd: the area of every spheroid over time, while the experiment runs."""

from importlib.metadata import version

__version__ = version("spheroidd")
