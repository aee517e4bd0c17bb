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
    _known: dict[tuple[str, str, str, int], bool] = field(init=False, default_factory=dict)

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

    def find(self, name: str, path: str, program: Program) -> bool:
        """Whether there is a library `name` that the program at `path` can load."""
        if "/" in name:
            return self._fits(self._expand(name, path)[0], program)
        if self._is_musl_itself(name, program):
            return True
        own = [place for folder in program.runpath for place in self._expand(folder, path)]
        if not program.interpreter:
            own.append(parent_of(path))  # a plugin, loaded by a program that knows the folder
        if any(self._fits(f"{folder}/{name}", program) for folder in own):
            return True
        return self._in_usual(name, program)

    def _in_usual(self, name: str, program: Program) -> bool:
        key = ("", name, program.machine, program.bits)
        if key not in self._known:
            folders = (*self._configured, *_CLASS_FOLDERS[program.bits], *self._multiarch)
            if self._is_musl:
                folders = (*self._of_musl(), *folders)
            self._known[key] = any(self._fits(f"{folder}/{name}", program) for folder in folders)
        return self._known[key]

    def _fits(self, path: str, program: Program) -> bool:
        """Whether `path` is a library for the machine of `program`."""
        if not path.startswith("/"):
            return False
        found = self.stage.inventory.programs.get(self.stage.tree.file_at(path))
        wanted = (program.machine, program.bits)
        return found is not None and (found.machine, found.bits) == wanted

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

    def _of_musl(self) -> Iterator[str]:
        for path in sorted(self.stage.inventory.texts):
            if fnmatchcase(path, "/etc/ld-musl-*.path"):
                yield from self.stage.text(path).replace(":", "\n").split("\n")
        yield from _MUSL_FOLDERS

    def _is_musl_itself(self, name: str, program: Program) -> bool:
        """Whether the loader of a program of musl has `name` built in."""
        if not self._is_musl or name not in _MUSL_OWN:
            return False
        return any(
            self._fits(f"/lib/{item}", program)
            for item in self._names("/lib")
            if item.startswith("ld-musl-")
        )
