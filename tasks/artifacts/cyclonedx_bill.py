"""A bill of materials as CycloneDX 1.6 JSON, by the format's own library.

The library writes every component; the lists of them are put together here, because its own list
of components takes time that grows with their square: 10 s for 3,000 packages, minutes for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema.schema import SchemaVersion1Dot6

from tasks import __version__
from tasks.artifacts import licences
from tasks.artifacts.bill import Bill
from tasks.artifacts.operating_system import OperatingSystem
from tasks.artifacts.package_urls import package_url
from tasks.artifacts.packages import Package

_STAGE, _SYSTEM = "stage", "operating-system"
_PROPERTIES = ("manager", "source", "slot", "repository")


def encode(bill: Bill) -> bytes:
    """The document, the same bytes for the same bill."""
    stage = Component(
        bom_ref=_STAGE,
        type=ComponentType.FILE,
        name=bill.name,
        version=bill.version,
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=bill.sha256),
            HashType(alg=HashAlgorithm.SHA_512, content=bill.sha512),
        ],
    )
    tool = Component(type=ComponentType.APPLICATION, name="stagefarm", version=__version__)
    metadata = BomMetaData(timestamp=bill.created, component=stage)
    metadata.tools.components.add(tool)
    bom = Bom(serial_number=bill.unique_id("cyclonedx"), metadata=metadata)
    document = msgspec.json.decode(JsonV1Dot6(bom).output_as_string())
    document["components"] = components = [_encoded(each) for each in _components(bill)]
    inside = [component["bom-ref"] for component in components]
    document["dependencies"] = list(_dependencies(inside))
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _encoded(component: Component) -> dict[str, Any]:
    text: str = component.as_json(SchemaVersion1Dot6)  # type: ignore[attr-defined]
    return msgspec.json.decode(text, type=dict[str, Any])


def _dependencies(inside: list[str]) -> Iterator[dict[str, Any]]:
    """The stage has everything; which package needs which is not said."""
    yield {"ref": _STAGE, "dependsOn": inside}
    yield from ({"ref": reference} for reference in inside)


def _components(bill: Bill) -> Iterator[Component]:
    if bill.system.id:
        yield Component(
            bom_ref=_SYSTEM,
            type=ComponentType.OPERATING_SYSTEM,
            name=bill.system.id,
            version=bill.system.version or None,
            description=bill.system.name or None,
        )
    for reference, package in bill.by_reference().items():
        yield _component(reference, package, bill.system)


def _component(reference: str, package: Package, system: OperatingSystem) -> Component:
    return Component(
        bom_ref=reference,
        type=ComponentType.LIBRARY,
        name=package.full_name,
        version=package.full_version,
        purl=package_url(package, system),
        supplier=OrganizationalEntity(name=package.vendor) if package.vendor else None,
        licenses=_licences(package.licence),
        properties=_properties(package),
    )


@cache
def _licences(text: str) -> Iterable[License]:
    if not text:
        return ()
    if not licences.is_expression(text):
        return (DisjunctiveLicense(name=text),)
    from cyclonedx.contrib.license.factories import LicenseFactory  # reads SPDX's list

    return (LicenseFactory().make_from_string(text),)


def _properties(package: Package) -> Iterator[Property]:
    for name in _PROPERTIES:
        if value := getattr(package, name):
            yield Property(name=f"stagefarm:{name}", value=value)
