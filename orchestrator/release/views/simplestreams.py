"""simplestreams, so that `incus launch` and `lxc launch` start a container from a stage.

    streams/v1/index.json, images.json    what there is; .sjson: the same, clear-signed
    images/<stage>.incus.tar.xz           the metadata that Incus wants beside a root filesystem

The root filesystem is the published tarball itself, named where the mirror has it. Incus takes
.tar.xz only. An image's fingerprint is the sha256 of metadata and root filesystem, one after the
other. (lxc/incus: shared/simplestreams; doc/reference/image_format.md)
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Fact, Facts, Reader
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.names import (
    checked,
    in_words,
    part,
    second_of,
    shown,
    stem,
    version,
    why_not,
)
from orchestrator.release.views.view import Signer, ViewFile
from tasks.archive.decompress import Read, pieces_of

ROOTS = ("streams", "images")
EXTENSIONS = (".tar.xz",)
INDEX, IMAGES = "streams/v1/index", "streams/v1/images"
DATATYPE = "image-downloads"

_PLAIN = re.compile(r"[A-Za-z0-9._+~-]+")


@dataclass(frozen=True)
class Simplestreams:
    learned: Facts

    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        found = shown(catalog, EXTENSIONS)
        images = [self._image(found, stage, read) for stage in found.stages if not _why_not(stage)]
        return checked(_files(images, signer), *ROOTS)

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        if not _why_not(stage):
            yield _fingerprint(metadata(catalog, stage))

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        return filter(None, map(_why_not, catalog.stages))

    def _image(self, catalog: Catalog, stage: Stage, read: Reader) -> _Image:
        content = metadata(catalog, stage)
        fingerprint = self.learned.of(stage.tarball, _fingerprint(content), read).decode()
        return _Image(_title(catalog, stage), stage, content, fingerprint)


@dataclass(frozen=True)
class _Title:
    """What an image is called: `os/release/variant`, such as `gentoo/stage3/systemd`."""

    system: str
    release: str
    variant: str
    architecture: str

    @property
    def alias(self) -> str:
        return f"{self.system}/{self.release}/{self.variant}"

    @property
    def product(self) -> str:
        return f"{self.system}:{self.release}:{self.variant}:{self.architecture}"


@dataclass(frozen=True)
class _Image:
    title: _Title
    stage: Stage
    metadata: bytes
    fingerprint: str

    @property
    def metadata_path(self) -> str:
        return f"images/{stem(self.stage)}-{version(self.stage)}.incus.tar.xz"

    @property
    def root_path(self) -> str:
        """Where the tarball is, or is shown again, if its own name means something in a URL."""
        tarball = self.stage.tarball
        if _PLAIN.fullmatch(tarball.name):
            return tarball.path
        return f"images/{stem(self.stage)}-{version(self.stage)}.root.tar.xz"


def _why_not(stage: Stage) -> str:
    if not (reason := why_not(stage, EXTENSIONS)) and not platform_of(stage).kernel:
        return f"{stage.build}: Incus has no architecture {stage.arch} {stage.subarch}".rstrip()
    return reason


def _title(catalog: Catalog, stage: Stage) -> _Title:
    platform = platform_of(stage)
    variant = "-".join(part(word) for word in (platform.subarch, stage.variant) if word)
    return _Title(
        system=part(catalog.release),
        release=part(stage.product),
        variant=variant or "default",
        architecture=platform.debian,
    )


def metadata(catalog: Catalog, stage: Stage) -> bytes:
    """`incus.tar.xz`: a tarball with `metadata.yaml`, the same bytes for the same stage."""
    title = _title(catalog, stage)
    properties = {
        "architecture": title.architecture,
        "description": f"{title.system} {title.release} {title.variant} ({version(stage)})",
        "name": stem(stage),
        "os": title.system,
        "release": title.release,
        "serial": version(stage),
        "variant": title.variant,
    }
    about = {
        "architecture": platform_of(stage).kernel,
        "creation_date": second_of(stage),
        "properties": properties,
    }
    content = _json(about)  # which is YAML too
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("metadata.yaml")
        member.size, member.mtime, member.mode = len(content), second_of(stage), 0o644
        tar.addfile(member, io.BytesIO(content))
    return lzma.compress(packed.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=6)


def _fingerprint(content: bytes) -> Fact:
    """The fingerprint of the image that has `content` as its metadata, in hexadecimal."""

    def learn(read: Read) -> bytes:
        digest = hashlib.sha256(content)
        for piece in pieces_of(read):
            digest.update(piece)
        return digest.hexdigest().encode()

    return Fact(f"sha256 after {hashlib.sha256(content).hexdigest()}", learn)


def _files(images: list[_Image], signer: Signer | None) -> Iterator[ViewFile]:
    for image in images:
        yield ViewFile(path=image.metadata_path, content=image.metadata)
        if image.root_path != image.stage.tarball.path:
            yield ViewFile(path=image.root_path, body=image.stage.tarball)
    updated = in_words(max((second_of(image.stage) for image in images), default=0))
    products = _products(images)
    yield from _both(IMAGES, lambda _: _images(products, updated), signer)
    yield from _both(INDEX, lambda ending: _index(products, updated, ending), signer)


def _both(path: str, make: Callable[[str], bytes], signer: Signer | None) -> Iterator[ViewFile]:
    """The file as .json, and clear-signed as .sjson if there is a key."""
    yield ViewFile(path=f"{path}.json", content=make("json"), is_index=True)
    if signer:
        signed = signer.clear_signed(make("sjson").decode()).encode()
        yield ViewFile(path=f"{path}.sjson", content=signed, is_index=True)


def _images(products: dict[str, Any], updated: str) -> bytes:
    return _json(
        {
            "content_id": "images",
            "datatype": DATATYPE,
            "format": "products:1.0",
            "products": products,
            "updated": updated,
        }
    )


def _index(products: dict[str, Any], updated: str, ending: str) -> bytes:
    images = {
        "datatype": DATATYPE,
        "format": "products:1.0",
        "path": f"{IMAGES}.{ending}",
        "products": sorted(products),
        "updated": updated,
    }
    return _json({"format": "index:1.0", "index": {"images": images}, "updated": updated})


def _products(images: list[_Image]) -> dict[str, Any]:
    products: dict[str, Any] = {}
    for image in images:
        known = products.setdefault(image.title.product, _product(image.title))
        known["versions"][version(image.stage)] = {"items": _items(image)}
    return products


def _product(title: _Title) -> dict[str, Any]:
    return {
        "aliases": title.alias,
        "arch": title.architecture,
        "os": title.system,
        "release": title.release,
        "release_title": title.release,
        "variant": title.variant,
        "versions": {},
    }


def _items(image: _Image) -> dict[str, Any]:
    tarball = image.stage.tarball
    about: dict[str, str | int] = {
        "combined_rootxz_sha256": image.fingerprint,
        "combined_sha256": image.fingerprint,
        "path": image.metadata_path,
        "sha256": hashlib.sha256(image.metadata).hexdigest(),
        "size": len(image.metadata),
    }
    root = {
        "ftype": "root.tar.xz",
        "path": image.root_path,
        "sha256": tarball.sha256,
        "size": tarball.size_bytes,
    }
    # The item with LXD's name is the same file.
    named = {kind: {"ftype": kind, **about} for kind in ("incus.tar.xz", "lxd.tar.xz")}
    return named | {"root.tar.xz": root}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
