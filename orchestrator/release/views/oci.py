"""An OCI image layout in `oci/`, whose layers are the published tarballs themselves.

A layer's digest is the tarball's sha256; what an image needs beyond that is the digest of the
uncompressed tar (`diff_id`), learned once. Tags:

    stage3-amd64-systemd-20261122T030405Z    one build
    stage3-amd64-systemd                     its latest
    stage3-systemd                           the latest of all architectures

Layers may be .tar.zst, .tar.gz and .tar: OCI has no type for xz. (opencontainers/image-spec:
image-layout.md, manifest.md, config.md, annotations.md)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Fact, Facts, Reader
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.names import (
    checked,
    extension,
    part,
    second_of,
    shown,
    stem,
    version,
    why_not,
)
from orchestrator.release.views.view import Signer, ViewFile
from tasks.archive.decompress import Read, decompress
from tasks.archive.formats import Damaged, by_name
from tasks.errors import BadInput

ROOT = "oci"
_TYPE = "application/vnd.oci.image."
INDEX, MANIFEST, CONFIG = (
    f"{_TYPE}index.v1+json",
    f"{_TYPE}manifest.v1+json",
    f"{_TYPE}config.v1+json",
)
LAYERS = {
    ".tar.zst": f"{_TYPE}layer.v1.tar+zstd",
    ".tar.gz": f"{_TYPE}layer.v1.tar+gzip",
    ".tar": f"{_TYPE}layer.v1.tar",
}
_KEY = "org.opencontainers.image."
TAG_MAX_CHARS = 128


@dataclass(frozen=True)
class Oci:
    learned: Facts

    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        return checked(self._files(shown(catalog, LAYERS), read), ROOT)

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        if not _why_not(stage):
            yield _diff_id(stage)

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        return filter(None, map(_why_not, catalog.stages))

    def _files(self, catalog: Catalog, read: Reader) -> Iterator[ViewFile]:
        layout = _Layout()
        latest = set(map(id, catalog.latest))
        images: dict[str, list[tuple[Stage, _Blob]]] = {}
        for stage in catalog.stages:
            if _why_not(stage):
                continue
            diff_id = self.learned.of(stage.tarball, _diff_id(stage), read).decode()
            manifest = _image(layout, catalog, stage, diff_id)
            layout.tag(f"{stem(stage)}-{version(stage)}", manifest, _platform(stage))
            if id(stage) in latest:
                layout.tag(stem(stage), manifest, _platform(stage))
                if platform_of(stage).is_told:
                    images.setdefault(_name(stage), []).append((stage, manifest))
        for name, members in sorted(images.items()):
            layout.tag(name, layout.add(_index(members), INDEX))
        return layout.files()


@dataclass(frozen=True)
class _Blob:
    digest: str
    size: int
    media_type: str

    @property
    def descriptor(self) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": f"sha256:{self.digest}",
            "size": self.size,
        }


class _Layout:
    """The blobs and tags of a layout while it is made."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.bodies: dict[str, Stage] = {}
        self._tags: dict[str, dict[str, Any]] = {}

    def add(self, value: dict[str, Any], media_type: str) -> _Blob:
        content = _json(value)
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return _Blob(digest, len(content), media_type)

    def tag(self, tag: str, blob: _Blob, platform: dict[str, str] | None = None) -> None:
        tag = tag.replace("+", "-")  # the only character of a name that a tag may not have
        if tag in self._tags:
            raise BadInput(f"two images have the tag {tag}", "rename a product or a variant")
        about = blob.descriptor | {"annotations": {f"{_KEY}ref.name": tag}}
        self._tags[tag] = about | ({"platform": platform} if platform else {})

    def files(self) -> Iterator[ViewFile]:
        for digest, stage in sorted(self.bodies.items()):
            yield ViewFile(path=f"{ROOT}/blobs/sha256/{digest}", body=stage.tarball)
        for digest, content in sorted(self.contents.items()):
            yield ViewFile(path=f"{ROOT}/blobs/sha256/{digest}", content=content)
        yield ViewFile(path=f"{ROOT}/oci-layout", content=_json({"imageLayoutVersion": "1.0.0"}))
        manifests = [self._tags[tag] for tag in sorted(self._tags)]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        yield ViewFile(path=f"{ROOT}/index.json", content=_json(index), is_index=True)


def _image(layout: _Layout, catalog: Catalog, stage: Stage, diff_id: str) -> _Blob:
    """Adds the image of a stage; returns its manifest."""
    labels = _labels(catalog, stage)
    config = layout.add(_config(stage, diff_id, labels), CONFIG)
    layer = _Blob(stage.tarball.sha256, stage.tarball.size_bytes, LAYERS[extension(stage)])
    layout.bodies.setdefault(layer.digest, stage)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor,
        "layers": [layer.descriptor],
        "annotations": labels,
    }
    return layout.add(manifest, MANIFEST)


def _why_not(stage: Stage) -> str:
    if reason := why_not(stage, LAYERS):
        return reason
    if not platform_of(stage).oci:
        return f"{stage.build}: OCI has no architecture {stage.arch} {stage.subarch}".rstrip()
    if len(tag := f"{stem(stage)}-{version(stage)}") > TAG_MAX_CHARS:
        return f"{stage.build}: {tag} is too long for a tag"
    return ""


def _name(stage: Stage) -> str:
    """The tag that the stage shares with those of other architectures."""
    return "-".join(part(word) for word in (stage.product, stage.variant) if word)


def _index(members: list[tuple[Stage, _Blob]]) -> dict[str, Any]:
    """One image for each platform; of several, that of the generic sub-architecture, else the
    first by name."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for stage, manifest in sorted(members, key=lambda member: platform_of(member[0]).subarch):
        platform = _platform(stage)
        key = platform["architecture"], platform.get("variant", "")
        chosen.setdefault(key, manifest.descriptor | {"platform": platform})
    manifests = [chosen[key] for key in sorted(chosen)]
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}


def _platform(stage: Stage) -> dict[str, str]:
    names = platform_of(stage)
    variant = {"variant": names.oci_variant} if names.oci_variant else {}
    return {"architecture": names.oci, "os": "linux", **variant}


def _labels(catalog: Catalog, stage: Stage) -> dict[str, str]:
    return {
        f"{_KEY}created": _created(stage),
        f"{_KEY}title": stem(stage),
        f"{_KEY}vendor": catalog.release,
        f"{_KEY}version": version(stage),
        "stagefarm.build": f"{stage.build}.{stage.attempt}",
    }


def _config(stage: Stage, diff_id: str, labels: dict[str, str]) -> dict[str, Any]:
    made = {"created": _created(stage), "created_by": f"stagefarm {stage.build}"}
    return {
        "created": _created(stage),
        **_platform(stage),
        "config": {"Cmd": ["/bin/sh"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [made],
    }


def _created(stage: Stage) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second_of(stage)))


def _diff_id(stage: Stage) -> Fact:
    """The sha256 of the tarball's content, in hexadecimal."""

    def learn(read: Read) -> bytes:
        digest = hashlib.sha256()
        try:
            for piece in decompress(read, by_name(extension(stage))):
                digest.update(piece)
        except Damaged as error:
            raise BadInput(f"{stage.build}: {stage.tarball.name}: {error}") from error
        return digest.hexdigest().encode()

    return Fact("sha256 uncompressed", learn)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
