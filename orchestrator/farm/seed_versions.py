"""Which version of a seed a build would start from now, as far as it can be known without fetching
it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from urllib.parse import urljoin

from tasks.errors import StagefarmError
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.sources.download import Downloader, Retries
from tasks.sources.http import check_address, is_pointer, lines_of_pointer

DECLARED = "declared"
UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class SeedVersions:
    """Each server is asked once for each file."""

    _texts: dict[str, str] = field(default_factory=dict)

    def of(self, source: Source) -> str:
        """DECLARED if the job itself names its digest; else what the pointer or the checksums say
        that the server publishes; UNKNOWN if neither is there, or can be read."""
        if source.sha256 or source.sha512:
            return DECLARED
        if source.type is not SourceType.HTTP:
            return UNKNOWN
        try:
            if is_pointer(source.uri):
                return next(iter(lines_of_pointer(self._text(source.uri))), UNKNOWN)
            if source.checksums:
                text = self._text(urljoin(source.uri, source.checksums))
                return hashlib.sha256(text.encode()).hexdigest()
        except (StagefarmError, ValueError):
            return UNKNOWN
        return UNKNOWN

    def _text(self, uri: str) -> str:
        if uri not in self._texts:
            check_address(uri)
            with Downloader(Silent(), Retries(attempts=1)) as downloader:
                self._texts[uri] = downloader.small(uri).decode(errors="replace")
        return self._texts[uri]
