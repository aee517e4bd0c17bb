"""`files/SHA256SUMS` with a detached signature, and the stages beside it: what Debian's users know,
and what systemd-sysupdate reads.

Names are `<variant>_<version>.tar.xz`, such as `stage3-amd64-systemd_20261122T030405Z.tar.xz`, so
that `MatchPattern=stage3-amd64-systemd_@v.tar.xz` matches the builds of one variant and no others:
underscores in other parts become dashes. All builds of the catalog are listed. (sysupdate.d(5))
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Fact, Reader
from orchestrator.release.views.names import checked, extension, shown, stem, version, why_not
from orchestrator.release.views.view import Signer, ViewFile

ROOT = "files"
LIST = f"{ROOT}/SHA256SUMS"


class Sums:
    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        return checked(_files(shown(catalog), signer), ROOT)

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        return iter(())

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        return filter(None, map(why_not, catalog.stages))


def file_name(stage: Stage) -> str:
    return f"{stem(stage).replace('_', '-')}_{version(stage)}{extension(stage)}"


def _files(catalog: Catalog, signer: Signer | None) -> Iterator[ViewFile]:
    named = {file_name(stage): stage for stage in catalog.stages}
    for stage in catalog.stages:
        yield ViewFile(path=f"{ROOT}/{file_name(stage)}", body=stage.tarball)
        for ending, file in stage.evidence.items():
            yield ViewFile(path=f"{ROOT}/{file_name(stage)}{ending}", body=file)
    content = "".join(
        f"{stage.tarball.sha256}  {name}\n" for name, stage in sorted(named.items())
    ).encode()
    for ending, signature in (signer.detached(content) if signer else {}).items():
        path = LIST + (".gpg" if ending == ".asc" else ending)
        yield ViewFile(path=path, content=signature, is_index=True)
    yield ViewFile(path=LIST, content=content, is_index=True)
