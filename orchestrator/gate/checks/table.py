"""All checks, by their names in gate files."""

from __future__ import annotations

from orchestrator.gate.checks import (
    advisories,
    leftovers,
    links,
    packages,
    permissions,
    programs,
    sizes,
    testing,
)
from orchestrator.gate.checks.faults import Check, changes, new_faults

CHECKS: dict[str, Check] = {
    "packages_lost": changes(packages.packages_lost),
    "packages_added": changes(packages.packages_added),
    "packages_downgraded": changes(packages.packages_downgraded),
    "licences": packages.licences,
    "advisories": advisories.advisories,
    "tarball_size": sizes.tarball_size,
    "tree_size": sizes.tree_size,
    "folder_size": sizes.folder_size,
    "setuid": changes(permissions.setuid),
    "setgid": changes(permissions.setgid),
    "capabilities": changes(permissions.capabilities),
    "world_writable": new_faults(permissions.world_writable),
    "unknown_owners": new_faults(permissions.unknown_owners),
    "device_nodes": new_faults(permissions.device_nodes),
    "special_files": new_faults(permissions.special_files),
    "dangling_links": links.dangling_links,
    "escaping_links": new_faults(links.escaping_links),
    "missing_libraries": new_faults(programs.missing_libraries),
    "missing_loaders": new_faults(programs.missing_loaders),
    "missing_interpreters": new_faults(programs.missing_interpreters),
    "unreadable_files": new_faults(programs.unreadable_files),
    "resolv_conf": new_faults(leftovers.resolv_conf),
    "machine_id": new_faults(leftovers.machine_id),
    "host_keys": new_faults(leftovers.host_keys),
    "private_keys": new_faults(leftovers.private_keys),
    "histories": new_faults(leftovers.histories),
    "caches": new_faults(leftovers.caches),
    "passwords": new_faults(leftovers.passwords),
    "build_paths": new_faults(leftovers.build_paths),
    "stale_bytecode": new_faults(leftovers.stale_bytecode),
    "tests": changes(testing.tests),
}
