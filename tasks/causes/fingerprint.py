"""The fingerprint of a cause: a digest that like failures share, on whatever host and night.

What changes from build to build is taken out of a message first: paths, URLs, hosts, addresses,
numbers, versions, dates, times, temporary names. What names the fault stays: symbols, libraries,
files, packages.
"""

from __future__ import annotations

import re
from hashlib import sha256

DIGEST_CHARS = 16

_QUOTES = str.maketrans("‘’“”`", "'''''")
_ENDS = r"org|com|net|edu|gov|io|dev|eu|de|uk|fr|nl|ch|fi|cz|jp|cn|br|ca|au|us"
_LOCAL_ENDS = r"test|example|invalid|local|internal|lan|home|localdomain"
_STEPS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>()\]]*/([^\s'\"<>()\]/?#]+)[^\s'\"<>()\]]*", r"URL \1"),
        (r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>()\]]+", "URL"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "HOST"),
        (r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", "TIME"),
        (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? ", ""),
        (
            r"(?:\b\d{1,2} )?\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,4}\b",
            "TIME",
        ),
        (r"\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?\b", "TIME"),
        (r"\[[0-9a-fA-F:]*:[0-9a-fA-F:]*\](?::\d+)?", "HOST"),
        (r"(?<![\w:])[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", "HOST"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "HEX"),
        (rf"\b(?:[A-Za-z0-9-]+\.)+(?:{_ENDS}|{_LOCAL_ENDS})\b(?::\d+)?", "HOST"),
        (r"(?<![\w.])~?/(?:[^\s:'\"(),;\[\]/]+/)+(?=[^\s:'\"(),;\[\]/])", ""),
        (r"(?<![\w.])/(?=[\w.])", ""),
        (r"(?<![\w.])(?:\.{1,2}/)+", ""),
        (r"\bcc[A-Za-z0-9]{6}\b", "TMP"),
        (r"(?i)\b(?:rpm-)?te?mp[._-][A-Za-z0-9]{6,}", "TMP"),
        (r"\btmp[a-z0-9_]{8}\b", "TMP"),
        (r"\b0[xX][0-9a-fA-F]+\b", "HEX"),
        (r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,}\b", "HEX"),
        (r"(?<=[A-Za-z+])_v?\d+\.[\w.+~-]*", ""),
        (r"(?<=[A-Za-z+])-v?\d[\w.+~]*(?:-r?\d[\w.+~]*)*", ""),
        (r"\bv?\d+(?:\.\d+)+[\w+~-]*", "N"),
        (r"(?<![A-Za-z_\d])\d+(?:[.,]\d+)?(?:[KMGT]i?B?|k|ms|s)?(?![A-Za-z_\d])", "N"),
        (r"N(?:[ ,.:/x-]+N)+", "N"),
        (r"\s+", " "),
    )
)
_VERSION = re.compile(r"-\d[^/]*$")


def fingerprint(kind: str, package: str, message: str) -> str:
    """The digest of a cause; `package` may be empty, and its version does not count."""
    parts = "\0".join((kind, unversioned(package), normalised(message)))
    return sha256(parts.encode(errors="replace")).hexdigest()[:DIGEST_CHARS]


def normalised(message: str) -> str:
    """`message` without what changes from build to build."""
    found = message.translate(_QUOTES)
    for pattern, by in _STEPS:
        found = pattern.sub(by, found)
    return found.strip(" .:")


def unversioned(package: str) -> str:
    """`sys-devel/gcc` for `sys-devel/gcc-13.2.1_p20240210-r1::gentoo`."""
    return _VERSION.sub("", package.partition("::")[0].lstrip("=<>~!"))
