"""Finds shared libraries in a stage as its dynamic loader would: ld.so(8) of glibc, and musl's.

The loader of a stage is not run. Where distributions build it with other folders, all of them are
looked at: a library must be of the program's machine anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from orchestrator.gate.checks.subject import Stage
from orchestrator.gate.checks.tree import parent_of
from tasks.inspection.inventory import Program

INCLUDES_MAX = 8
"""Levels of files that ld.so.conf includes."""
FOLDERS_MAX = 1000
_CLASS_FOLDERS = {
    64: ("/lib64", "/usr/lib64", "/lib", "/usr/lib"),
    32: ("/lib32", "/usr/lib32", "/libx32", "/usr/libx32", "/lib", "/usr/lib"),
}
_MUSL_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib")
_MUSL_OWN = {f"lib{name}.so" for name in ("c", "pthread", "rt", "m", "dl", "util", "xnet")}
"""Libraries that are musl's loader itself (`reserved` in its ldso/dynlink.c)."""


@dataclass(slots=True)
class Libraries:
    """The shared libraries of one stage."""

    stage: Stage
    _multiarch: tuple[str, ...] = field(init=False)
    _configured: tuple[str, ...] = field(init=False)
    _is_musl: bool = field(init=False)
    _by_name: dict[str, list[str]] = field(init=False)
    _usual_places: set[str] = field(init=False)
    _known: dict[tuple[object, ...], bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tree = self.stage.tree
        self._multiarch = tuple(
            f"{folder}/{name}"
            for folder in ("/lib", "/usr/lib")
            for name in sorted(tree.folders.get(tree.find(folder).path, ()))
            if name.count("-") in (2, 3) and tree.is_folder(f"{folder}/{name}")
        )
        self._configured = tuple(dict.fromkeys(self._of_config("/etc/ld.so.conf")))[:FOLDERS_MAX]
        self._is_musl = any(name.startswith("ld-musl-") for name in self._names("/lib"))
        usual = {folder for bits in _CLASS_FOLDERS for folder in self._usual(bits)}
        self._usual_places = {tree.find(folder).path for folder in usual}
        self._by_name = {}
        for path in self.stage.inventory.programs:
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)

    def find(self, name: str, path: str, program: Program) -> bool:
        """Whether there is a library `name` that the program at `path` can load."""
        if "/" in name:
            return self._fits(self._expand(name, path)[0], program)
        if self._is_musl_itself(name, program):
            return True
        own = [place for folder in program.runpath for place in self._expand(folder, path)]
        if any(self._fits(f"{folder}/{name}", program) for folder in own):
            return True
        return self._in_usual(name, program) or self._beside(name, path, program)

    def _in_usual(self, name: str, program: Program) -> bool:
        key = (name, *_abi(program))
        if key not in self._known:
            folders = self._usual(program.bits)
            self._known[key] = any(self._fits(f"{folder}/{name}", program) for folder in folders)
        return self._known[key]

    def _usual(self, bits: int) -> tuple[str, ...]:
        musl = self._of_musl() if self._is_musl else ()
        return (*musl, *self._configured, *_CLASS_FOLDERS[bits], *self._multiarch)

    def _beside(self, name: str, path: str, program: Program) -> bool:
        """Whether a plugin can count on a program that has loaded `name` before: then it lies in
        the plugin's own folder, or below."""
        folder = parent_of(path)
        if program.interpreter or self.stage.tree.find(folder).path in self._usual_places:
            return False
        inside = (place for place in self._by_name.get(name, ()) if place.startswith(f"{folder}/"))
        return any(self._fits(place, program) for place in inside)

    def _fits(self, path: str, program: Program) -> bool:
        """Whether `path` is a library for the machine of `program`."""
        if not path.startswith("/"):
            return False
        found = self.stage.inventory.programs.get(self.stage.tree.file_at(path))
        return found is not None and _abi(found) == _abi(program)

    def _expand(self, folder: str, path: str) -> list[str]:
        """`folder` with the variables that ld.so knows."""
        origin = parent_of(path)
        for name in ("$ORIGIN", "${ORIGIN}"):
            folder = folder.replace(name, origin)
        if "$LIB" not in folder.replace("{", "").replace("}", ""):
            return [folder]
        names = ("lib64", "lib", "lib32", *(item[1:] for item in self._multiarch))
        return [folder.replace("${LIB}", name).replace("$LIB", name) for name in names]

    def _names(self, folder: str) -> set[str]:
        tree = self.stage.tree
        return tree.folders.get(tree.find(folder).path, set())

    def _of_config(self, file: str, depth: int = 0) -> Iterator[str]:
        """The folders of an ld.so.conf, and of those that it includes."""
        for line in self.stage.lines(file) if depth < INCLUDES_MAX else ():
            word, *patterns = line.split()
            if word != "include":
                yield from (part for part in line.replace(":", " ").replace(",", " ").split())
                continue
            for pattern in patterns:
                for path in self._matching(pattern):
                    yield from self._of_config(path, depth + 1)

    def _matching(self, pattern: str) -> Iterator[str]:
        pattern = pattern if pattern.startswith("/") else f"/etc/{pattern}"
        return (path for path in sorted(self.stage.inventory.texts) if fnmatchcase(path, pattern))

    # musl

    def _of_musl(self) -> tuple[str, ...]:
        files = (path for path in self.stage.inventory.texts if path.startswith("/etc/ld-musl-"))
        lines = "\n".join(self.stage.text(path) for path in sorted(files))
        return (*lines.replace(":", "\n").split("\n")[:FOLDERS_MAX], *_MUSL_FOLDERS)

    def _is_musl_itself(self, name: str, program: Program) -> bool:
        """Whether the loader of a program of musl has `name` built in."""
        if not self._is_musl or name not in _MUSL_OWN:
            return False
        return any(
            self._fits(f"/lib/{item}", program)
            for item in self._names("/lib")
            if item.startswith("ld-musl-")
        )


def _abi(program: Program) -> tuple[object, ...]:
    return program.machine, program.bits, program.little_endian
