"""Package URLs: names of packages that other programs know, https://github.com/package-url/purl-spec.

A type of URL is used only where it is registered. Portage and anise have none: their packages get
the type `generic`, with the manager as a qualifier; so do packages of a root filesystem that does
not say which distribution it is, as the other types need its name.
"""

from __future__ import annotations

from packageurl import PackageURL

from tasks.artifacts.operating_system import OperatingSystem
from tasks.artifacts.packages import Package

_TYPES = {"dpkg": "deb", "rpm": "rpm", "apk": "apk", "pacman": "alpm"}


def package_url(package: Package, system: OperatingSystem) -> PackageURL | None:
    """The URL of a package; None if its name cannot be in one."""
    kind = _TYPES.get(package.manager) if system.id else None
    qualifiers = {
        "arch": package.arch,
        "distro": system.distro,
        "epoch": package.epoch,
        "manager": "" if kind else package.manager,
        "repository": package.repository,
        "slot": package.slot,
    }
    namespace, _, name = package.full_name.rpartition("/")
    try:
        return PackageURL(
            type=kind or "generic",
            namespace=system.id if kind else namespace,
            name=name.lower() if kind == "deb" else name,
            version=package.version,
            qualifiers={key: value for key, value in qualifiers.items() if value},
        )
    except ValueError:
        return None
