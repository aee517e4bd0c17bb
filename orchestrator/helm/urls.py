"""URLs, parsed and assembled like Go's net/url."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.values import from_bytes, to_bytes


class Part(Enum):
    """The part of a URL, which determines the characters to escape."""

    PATH = "$&+,/:;=@"
    USER = "$&+,;="
    HOST = "!$&'()*+,;=:[]<>\""
    FRAGMENT = "$&+,/:;=?@!()*"


UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
ALLOWED = {part: UNRESERVED | frozenset(part.value.encode()) for part in Part}
ENCODED = frozenset(b"!$&'()*+,;=:@[]%")
ESCAPED = re.compile(rb"%(?:([0-9A-Fa-f]{2})|.{0,2})", re.DOTALL)
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
PORT = re.compile(r"(?::[0-9]*)?")
USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


def escape(text: str, part: Part) -> str:
    allowed = ALLOWED[part]
    return from_bytes(
        b"".join(bytes([byte]) if byte in allowed else b"%%%02X" % byte for byte in to_bytes(text))
    )


def unescape(text: str, part: Part) -> str:
    def byte(found: re.Match[bytes]) -> bytes:
        if not found[1] or (part is Part.HOST and found[1][0] < 0x38 and found[1] != b"25"):
            raise FunctionError(f'unable to parse url: invalid URL escape "{from_bytes(found[0])}"')
        return bytes([int(found[1], 16)])

    data = to_bytes(text)
    if part is Part.HOST:
        for code in data:
            if code < 0x80 and code not in ALLOWED[part] and code != 0x25:
                raise FunctionError(
                    f'unable to parse url: invalid character "{chr(code)}" in host name'
                )
    return from_bytes(ESCAPED.sub(byte, data))


@dataclass(slots=True)
class Url:
    """`raw_path` and `raw_fragment` are the original text, if it differs. `user` is escaped, or
    None if there is none."""

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    host: str = ""
    path: str = ""
    raw_path: str = ""
    query: str = ""
    fragment: str = ""
    raw_fragment: str = ""
    omits_host: bool = False
    forces_query: bool = False

    @property
    def hostname(self) -> str:
        host = self.host
        if host.startswith("[") and "]" in host:
            return host[1 : host.rindex("]")]
        name, colon, port = host.rpartition(":")
        return name if colon and (port == "" or port.isdigit()) else host

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        text += self.opaque or self.place(is_first=not text)
        if self.forces_query or self.query:
            text += f"?{self.query}"
        if self.fragment:
            text += f"#{as_written(self.raw_fragment, self.fragment, Part.FRAGMENT)}"
        return text

    def place(self, *, is_first: bool) -> str:
        """Host and path."""
        text = self.authority()
        path = "*" if self.path == "*" else as_written(self.raw_path, self.path, Part.PATH)
        if path and path[0] != "/" and self.host:
            text += "/"
        if is_first and not text and ":" in path.partition("/")[0]:
            text += "./"
        return text + path

    def authority(self) -> str:
        has_user = self.user is not None
        if not (self.scheme or self.host or has_user):
            return ""
        if self.omits_host and not self.host and not has_user:
            return ""
        slashes = "//" if self.host or self.path or has_user else ""
        user = f"{self.user}@" if has_user else ""
        return slashes + user + escape(self.host, Part.HOST)


def as_written(raw: str, text: str, part: Part) -> str:
    """The escaped text: the original one, if it is equivalent."""
    fits = raw and all(byte in ENCODED or byte in ALLOWED[part] for byte in to_bytes(raw))
    return raw if fits and unescape(raw, part) == text else escape(text, part)


def parse(text: str) -> Url:
    """Raises `FunctionError`."""
    if any(char < " " or char == "\x7f" for char in text):
        raise FunctionError("unable to parse url: invalid control character in URL")
    body, _, raw_fragment = text.partition("#")
    url = Url()
    if body == "*":
        url.path = "*"
    else:
        parse_body(url, body)
    url.fragment = unescape(raw_fragment, Part.FRAGMENT)
    if escape(url.fragment, Part.FRAGMENT) != raw_fragment:
        url.raw_fragment = raw_fragment
    return url


def parse_body(url: Url, body: str) -> None:
    if body.startswith(":"):
        raise FunctionError("unable to parse url: missing protocol scheme")
    found = SCHEME.match(body)
    url.scheme = found[1].lower() if found else ""
    rest = body[found.end() :] if found else body
    url.forces_query = rest.endswith("?") and rest.count("?") == 1
    rest, _, url.query = rest.partition("?")
    if not rest.startswith("/"):
        if url.scheme:
            url.opaque = rest
            return
        if ":" in rest.partition("/")[0]:
            raise FunctionError(
                "unable to parse url: first path segment in URL cannot contain colon"
            )
    parse_place(url, rest)


def parse_place(url: Url, rest: str) -> None:
    if rest.startswith("//") and (url.scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        parse_authority(url, authority)
        rest = slash + path
    elif url.scheme and rest.startswith("/"):
        url.omits_host = True
    url.path = unescape(rest, Part.PATH)
    if escape(url.path, Part.PATH) != rest:
        url.raw_path = rest


def parse_authority(url: Url, authority: str) -> None:
    user, at, host = authority.rpartition("@")
    url.host = parse_host(host)
    if not at:
        return
    if not USERINFO.fullmatch(user):
        raise FunctionError("unable to parse url: net/url: invalid userinfo")
    names = user.split(":", 1)
    url.user = ":".join(escape(unescape(name, Part.USER), Part.USER) for name in names)


def parse_host(host: str) -> str:
    bracket = host.rfind("]")
    if host.startswith("[") and bracket < 0:
        raise FunctionError("unable to parse url: missing ']' in host")
    start = bracket + 1 if host.startswith("[") else host.rfind(":")
    port = host[start:] if start >= 0 else ""
    if not PORT.fullmatch(port):
        raise FunctionError(f'unable to parse url: invalid port "{port}" after host')
    zone = host.find("%25", 0, bracket) if host.startswith("[") else -1
    if zone < 0:
        return unescape(host, Part.HOST)
    name = unescape(host[zone:bracket].replace("%25", "%", 1).replace("%", "%25", 1), Part.USER)
    return unescape(host[:zone], Part.HOST) + name + unescape(host[bracket:], Part.HOST)
