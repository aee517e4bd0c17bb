"""Reading bills of materials with programs and libraries of others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.model import Document
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.packagers import Listed


def cyclonedx(file: Path) -> dict[str, Any]:
    """A document that keeps to the published schema, and whose references lead somewhere."""
    text = file.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    references = [found["metadata"]["component"]["bom-ref"], *_references(found)]
    assert len(references) == len(set(references))
    (top, *rest) = found["dependencies"]
    assert top["dependsOn"] == references[1:] == [each["ref"] for each in rest]
    return found


def _references(document: dict[str, Any]) -> Iterator[str]:
    return (component["bom-ref"] for component in document["components"])


def spdx(file: Path) -> Document:
    """A document that the reference implementation reads, and finds nothing wrong with."""
    document = parse_file(str(file))
    assert [each.validation_message for each in validate_full_spdx_document(document)] == []
    return document


def in_cyclonedx(file: Path) -> tuple[Listed, ...]:
    """The packages of a document, by their URLs."""
    urls = (component.get("purl") for component in cyclonedx(file)["components"])
    return _listed(filter(None, urls))


def in_spdx(file: Path) -> tuple[Listed, ...]:
    packages = spdx(file).packages
    return _listed(each.locator for package in packages for each in package.external_references)


def _listed(urls: Iterator[str]) -> tuple[Listed, ...]:
    return tuple(sorted(_from_url(PackageURL.from_string(url)) for url in urls))


def _from_url(url: PackageURL) -> Listed:
    qualifiers = url.qualifiers
    assert isinstance(qualifiers, dict)
    epoch = qualifiers.get("epoch")
    return Listed(
        name=f"{url.namespace}/{url.name}" if url.type == "generic" else url.name,
        version=f"{epoch}:{url.version}" if epoch else url.version or "",
        arch=qualifiers.get("arch", ""),
    )
