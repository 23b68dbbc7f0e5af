"""Paths as text that SQLite, JSON and a screen can hold, whatever bytes they have.

A Linux file name is bytes and need not be UTF-8.  Python shows a stray byte 0xNN
as the lone surrogate U+DCNN, which SQLite refuses.  Here it is stored as the
private character U+F7NN instead (the ranges map one to one), so the text can be
turned back and the file opened.  A name that has U+F7NN itself is stored as if each byte
of that character were a stray one, so that what comes back is the same name, byte by byte.
"""

_TO_REAL = {0xF780 + n: 0xDC80 + n for n in range(0x80)}
_TO_STORED: dict[int, str] = {real: chr(stored) for stored, real in _TO_REAL.items()} | {
    taken: "".join(chr(0xF700 + byte) for byte in chr(taken).encode()) for taken in _TO_REAL
}


def to_stored(path: str) -> str:
    """The text to keep for a path as the `os` module gives it."""
    return path if path.isascii() else path.translate(_TO_STORED)


def to_real(stored: str) -> str:
    """The path to open for a text made by `to_stored`."""
    return stored if stored.isascii() else stored.translate(_TO_REAL)


def printable(text: str) -> str:
    """One line for people: control characters and stray bytes are shown as escapes."""
    return "".join(c if c.isprintable() and ord(c) not in _TO_REAL else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code in _TO_REAL:
        return f"\\x{code - 0xF700:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
