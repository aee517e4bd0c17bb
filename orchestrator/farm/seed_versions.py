"""Which version of a seed a build would start from now, as far as it can be known without fetching
it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.errors import StagefarmError
from tasks.model import Build, Source, SourceType
from tasks.reporting import Silent
from tasks.sources.download import Downloader, Retries
from tasks.sources.http import check_address, is_pointer, joined, name_of, named_by_pointer
from tasks.sources.verify import parse_checksums

DECLARED = "declared"
UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class SeedVersions:
    """What servers say of the seeds of a night; each is asked once for each file."""

    _texts: dict[str, str] = field(default_factory=dict)
    _pinned: set[str] = field(default_factory=set)

    def of(self, source: Source) -> str:
        """DECLARED if the job itself names its digest; else what the pointer or the checksums say
        that the server publishes; UNKNOWN if neither is there, or can be read."""
        if source.sha256 or source.sha512:
            return DECLARED
        if source.type is not SourceType.HTTP:
            return UNKNOWN
        try:
            return source.uri if source.uri in self._pinned else self._said_of(source)
        except StagefarmError:
            return UNKNOWN

    def _said_of(self, source: Source) -> str:
        if is_pointer(source.uri):
            return self._pointed_at(source.uri)
        if not source.checksums:
            return UNKNOWN
        text = self._text(joined(source.uri, source.checksums))
        return hashlib.sha256(text.encode()).hexdigest()

    def pin(self, builds: Sequence[Build]) -> list[Build]:
        """The builds with the seeds that their servers publish now, whatever these publish later.
        `SourceFailed` if one does not say."""
        return [self._with_pinned(build) for build in builds]

    def _with_pinned(self, build: Build) -> Build:
        source = build.source
        if source.type is not SourceType.HTTP or self.of(source) == DECLARED:
            return build
        if is_pointer(source.uri):
            source = replace(source, uri=self._pointed_at(source.uri))
            self._pinned.add(source.uri)
        if source.checksums:
            text = self._text(joined(source.uri, source.checksums))
            found = parse_checksums(text, name_of(source.uri))
            source = replace(source, sha256=found.get("sha256", ""), sha512=found.get("sha512", ""))
        return (
            build
            if source == build.source
            else replace(build, source=source, as_written=build.source)
        )

    def _pointed_at(self, uri: str) -> str:
        return joined(uri, named_by_pointer(uri, self._text(uri)))

    def _text(self, uri: str) -> str:
        if uri not in self._texts:
            check_address(uri)
            with Downloader(Silent(), Retries(attempts=1)) as downloader:
                self._texts[uri] = downloader.small(uri).decode(errors="replace")
        return self._texts[uri]
