"""Where a request comes from, and whether it was meant for us: decisions over its headers."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

_LOOPBACK = "localhost"
_LONGEST_NEXT = 2000


@dataclass(frozen=True)
class Peer:
    """Who is at the other end.

    Attributes:
        address: as text; empty where there is none (a socket in the file system).
        https: the browser's side of the connection is encrypted.
    """

    address: str
    https: bool


def is_loopback(host: str) -> bool:
    """Whether this address or name is this machine alone."""
    address = _address(host)
    return host.lower() == _LOOPBACK if address is None else address.is_loopback


def peer_of(scope: Scope, *, proxied: bool) -> Peer:
    """Who asks.

    Args:
        proxied: a reverse proxy on this machine is expected.  Only then, and only from this
            machine, its word is taken: anybody can write these headers.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    https = scope.get("scheme") == "https"
    if not (proxied and is_loopback(address)):
        return Peer(address, https)
    headers = Headers(scope=scope)
    # The last one is what our proxy saw; those before it are what its client claims.
    said = ",".join(headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip()
    return Peer(said if _address(said) else address, https or scheme.lower() == "https")


def is_ours(host: str, configured: str, names: Collection[str]) -> bool:
    """Whether the `Host` header names this server.

    A web page elsewhere can have its own name lead to our address (DNS rebinding), but the
    browser then asks under that name.  An address can't be rebound, so where we listen on all
    of them any will do.
    """
    name = host_name(host)
    if name is None:
        return False
    if name in {configured.lower().strip("[]"), *names} or is_loopback(name):
        return True
    everywhere = _address(configured)
    return everywhere is not None and everywhere.is_unspecified and _address(name) is not None


def host_name(host: str) -> str | None:
    """The name of a `Host` header without its port, in small letters; None: it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        good = bracket and _address(name) and (not port or port[0] == ":")
        port = port[1:]
    else:
        name, _, port = host.partition(":")
        good = name and not set(name) - _NAME_CHARACTERS
    if not good or (port and not (port.isascii() and port.isdigit())):
        return None
    return name.lower().rstrip(".")


def from_our_pages(headers: Headers, names: Collection[str]) -> bool:
    """Whether a browser says that one of our own pages asks; true where it says nothing."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    _, _, place = origin.lower().partition("://")
    return bool(place) and (place == headers.get("host", "").lower() or host_name(place) in names)


def from_elsewhere(headers: Headers) -> bool:
    """Whether another site's page asks by itself; a link that somebody clicks on is fine."""
    site = headers.get("sec-fetch-site", "none")
    return site not in ("same-origin", "none") and headers.get("sec-fetch-mode") != "navigate"


def local_path(wanted: str) -> str:
    """Where to go after the login: only a place on this site, else `/`.

    Browsers leave out tabs and line ends, and take `\\` for `/`: `/\\t/evil` is `//evil`.
    """
    plain = wanted.isascii() and wanted.isprintable() and " " not in wanted and "\\" not in wanted
    local = wanted.startswith("/") and not wanted.startswith("//")
    path = wanted.partition("?")[0]
    if not (plain and local and len(wanted) <= _LONGEST_NEXT) or path in ("/login", "/logout"):
        return "/"
    return wanted


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    # As a socket for both kinds shows who comes by IPv4.
    return getattr(address, "ipv4_mapped", None) or address


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
