"""Secrets: kept as hashes, compared in constant time, never told.

A password is hashed by scrypt (RFC 7914), which is slow on purpose; a token is 32 random bytes,
which nobody can guess, so one round of SHA-256 is enough.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import unicodedata
from collections.abc import Mapping

# OWASP's password storage cheat sheet holds 2^17·8·1, 2^15·8·3 and 2^14·8·5 for equally hard to
# guess.  This one takes 32 MB and a quarter of a second; the first takes 128 MB, which is much
# beside a daemon that needs the memory for images.
_N, _R, _P = 2**15, 8, 3
_SALT_BYTES, _KEY_BYTES, _TOKEN_BYTES = 16, 32, 32
_LEAST_CHARACTERS = 8  # NIST SP 800-63B, 5.1.1.1
_MOST_CHARACTERS = 1024
# What a hash from elsewhere may ask for: bytes of memory, and passes over them.
_LEAST_N, _MOST_MEMORY, _MOST_PASSES = 2**14, 256 * 2**20, 16

_one_at_a_time = threading.Lock()  # or many who guess would fill the memory


def hash_password(password: str) -> str:
    """The hash of a password, to be kept: `scrypt$N$r$p$SALT$KEY` (base64).

    Raises:
        ValueError: too short or too long; says how long it may be.
    """
    if not _LEAST_CHARACTERS <= len(password) <= _MOST_CHARACTERS:
        raise ValueError(
            f"a password has {_LEAST_CHARACTERS} to {_MOST_CHARACTERS} characters; "
            "four random words are easy to remember and hard to guess"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _scrypt(password, salt, _N, _R, _P, _KEY_BYTES)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), _text(salt), _text(key)])


def new_token() -> tuple[str, str]:
    """A random token, to be given away once, and its hash, to be kept: `sha256$HEX`."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """The hash that is kept of a token."""
    return f"sha256${hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()}"


def problem(hashed: str) -> str:
    """What is wrong with a password's hash; empty: nothing."""
    try:
        _parsed(hashed)
    except ValueError as error:
        return str(error)
    return ""


def check(password: str, hashed: str) -> bool:
    """Whether this is the password.  Takes a quarter of a second, one at a time.

    Raises:
        ValueError: the hash is malformed.
    """
    n, r, p, salt, key = _parsed(hashed)
    given = _scrypt(password[: _MOST_CHARACTERS + 1], salt, n, r, p, len(key))
    return hmac.compare_digest(given, key)


def name_of(token: str, hashes: Mapping[str, str]) -> str | None:
    """Whose token this is; None: nobody's.  All are compared, so the time tells nothing.

    Args:
        hashes: name → what `hash_token` made.
    """
    given = hash_token(token)
    found = None
    for name, hashed in hashes.items():
        if hmac.compare_digest(given, hashed):
            found = name
    return found


def _parsed(hashed: str) -> tuple[int, int, int, bytes, bytes]:
    """N, r, p, salt and key; no more than this process can bear to compute."""
    again = "`spheroidd web --hash-password` makes a right one"
    try:
        kind, *numbers, salt_text, key_text = hashed.split("$")
        n, r, p = (int(number) for number in numbers)
        salt, key = (base64.b64decode(text, validate=True) for text in (salt_text, key_text))
    except (ValueError, binascii.Error):
        raise ValueError(f"not scrypt$N$r$p$SALT$KEY; {again}") from None
    if kind != "scrypt" or min(len(salt), len(key)) < _SALT_BYTES or len(key) > 64:
        raise ValueError(f"not scrypt$N$r$p$SALT$KEY; {again}")
    bearable = n * r * 128 <= _MOST_MEMORY and 1 <= r <= 32 and 1 <= p <= _MOST_PASSES
    if n < _LEAST_N or n & (n - 1) or not bearable:
        raise ValueError(f"scrypt with N={n}, r={r}, p={p} is too weak or too much; {again}")
    return n, r, p, salt, key


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    # The same password may come as different bytes from another keyboard or system.
    plain = unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
    memory = 128 * r * (n + p + 2) + 2**20  # OpenSSL's own limit is 32 MB, all told
    with _one_at_a_time:
        return hashlib.scrypt(plain, salt=salt, n=n, r=r, p=p, dklen=length, maxmem=memory)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def is_same(given: str, secret: str) -> bool:
    """Whether both are the same, and not empty; how long it takes tells nothing."""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
