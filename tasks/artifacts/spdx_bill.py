"""A bill of materials as SPDX 2.3 JSON: https://spdx.github.io/spdx-spec/v2.3/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import starmap

import msgspec

from tasks import __version__
from tasks.artifacts import licences
from tasks.artifacts.bill import Bill
from tasks.artifacts.operating_system import OperatingSystem
from tasks.artifacts.package_urls import package_url
from tasks.artifacts.packages import Package

_DOCUMENT, _STAGE, _SYSTEM = "SPDXRef-DOCUMENT", "SPDXRef-stage", "SPDXRef-operating-system"
_UNKNOWN = "NOASSERTION"


class _Struct(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    pass


class _Checksum(_Struct):
    algorithm: str
    checksum_value: str


class _ExternalRef(_Struct):
    locator: str = msgspec.field(name="referenceLocator")
    category: str = msgspec.field(name="referenceCategory")
    type: str = msgspec.field(name="referenceType")


class _Package(_Struct):
    spdx_id: str = msgspec.field(name="SPDXID")
    name: str
    version_info: str
    download_location: str
    files_analyzed: bool
    supplier: str
    license_declared: str
    license_comments: str = ""
    source_info: str = ""
    summary: str = ""
    package_file_name: str = ""
    primary_package_purpose: str = ""
    checksums: tuple[_Checksum, ...] = ()
    external_refs: tuple[_ExternalRef, ...] = ()


class _Relationship(_Struct):
    spdx_element_id: str
    relationship_type: str
    related_spdx_element: str


class _CreationInfo(_Struct):
    created: str
    creators: tuple[str, ...]


class _Document(_Struct):
    spdx_id: str = msgspec.field(name="SPDXID")
    spdx_version: str
    data_license: str
    name: str
    document_namespace: str
    creation_info: _CreationInfo
    packages: tuple[_Package, ...]
    relationships: tuple[_Relationship, ...]


def encode(bill: Bill) -> bytes:
    """The document, the same bytes for the same bill."""
    system = (_system(bill.system),) if bill.system.id else ()
    inside = (*system, *starmap(partial(_package, bill.system), bill.by_reference().items()))
    document = _Document(
        spdx_id=_DOCUMENT,
        spdx_version="SPDX-2.3",
        data_license="CC0-1.0",
        name=bill.name,
        document_namespace=bill.unique_id("spdx").urn,
        creation_info=_CreationInfo(
            created=bill.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            creators=(f"Tool: stagefarm-{__version__}",),
        ),
        packages=(_stage(bill), *inside),
        relationships=(
            _related(_DOCUMENT, "DESCRIBES", _STAGE),
            *(_related(_STAGE, "CONTAINS", package.spdx_id) for package in inside),
        ),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _related(element: str, how: str, other: str) -> _Relationship:
    return _Relationship(spdx_element_id=element, relationship_type=how, related_spdx_element=other)


def _stage(bill: Bill) -> _Package:
    return _Package(
        spdx_id=_STAGE,
        name=bill.name,
        version_info=bill.version,
        download_location=_UNKNOWN,
        files_analyzed=False,
        supplier=_UNKNOWN,
        license_declared=_UNKNOWN,
        package_file_name=bill.name,
        primary_package_purpose="ARCHIVE",
        checksums=(
            _Checksum(algorithm="SHA256", checksum_value=bill.sha256),
            _Checksum(algorithm="SHA512", checksum_value=bill.sha512),
        ),
    )


def _system(system: OperatingSystem) -> _Package:
    return _Package(
        spdx_id=_SYSTEM,
        name=system.id,
        version_info=system.version,
        download_location=_UNKNOWN,
        files_analyzed=False,
        supplier=_UNKNOWN,
        license_declared=_UNKNOWN,
        summary=system.name,
        primary_package_purpose="OPERATING-SYSTEM",
    )


def _package(system: OperatingSystem, reference: str, package: Package) -> _Package:
    is_expression = licences.is_expression(package.licence)
    named = package.licence and not is_expression
    return _Package(
        spdx_id=f"SPDXRef-{reference}",
        name=package.full_name,
        version_info=package.full_version,
        download_location=_UNKNOWN,
        files_analyzed=False,
        supplier=_supplier(package),
        license_declared=package.licence if is_expression else _UNKNOWN,
        license_comments=f"{package.manager} says: {package.licence}" if named else "",
        source_info=f"built from {package.source}" if package.source else "",
        external_refs=tuple(_references(package, system)),
    )


def _references(package: Package, system: OperatingSystem) -> Iterator[_ExternalRef]:
    if url := package_url(package, system):
        yield _ExternalRef(locator=str(url), category="PACKAGE-MANAGER", type="purl")


_ADDRESS = re.compile(r"\s*<([\w.+-]+@[\w.-]+)>$", re.ASCII)
_IN_PARENTHESES = r" (\1)"


def _supplier(package: Package) -> str:
    """`Name <address>` of a database is `Name (address)` in SPDX. rpm names who sells or gives the
    package, the others name the people who look after it."""
    name = package.vendor.replace("(", "").replace(")", "").strip()
    if not name or name.startswith("<"):
        return _UNKNOWN
    kind = "Organization" if package.manager == "rpm" else "Person"
    return f"{kind}: {_ADDRESS.sub(_IN_PARENTHESES, name)}"
