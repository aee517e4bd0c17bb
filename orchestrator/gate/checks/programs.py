"""Programs that cannot start: without their loader, a shared library or an interpreter."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.gate.checks.faults import Fault, cut
from orchestrator.gate.checks.libraries import Libraries
from orchestrator.gate.checks.subject import Stage
from tasks.inspection.inventory import Kind, Mark

EXECUTABLE = 0o111
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin")


def missing_libraries(stage: Stage) -> Iterator[Fault]:
    libraries = Libraries(stage)
    for path, program in stage.inventory.programs.items():
        for name in program.needed:
            if not libraries.find(name, path, program):
                message = f"needs {cut(name)} ({_machine(program.machine)}, {program.bits} bits)"
                yield Fault(path=path, value=cut(name), message=message)


def _machine(name: str) -> str:
    return name.removeprefix("EM_").lower()


def missing_loaders(stage: Stage) -> Iterator[Fault]:
    for path, program in stage.inventory.programs.items():
        loader = program.interpreter
        if loader and not (loader.startswith("/") and stage.tree.file_at(loader)):
            message = f"its loader {cut(loader)} is not in the stage"
            yield Fault(path=path, value=cut(loader), message=message)


_UNREADABLE = {
    Mark.DAMAGED: "begins as a program, and is none",
    Mark.UNREAD: "is too large to be read",
}


def unreadable_files(stage: Stage) -> Iterator[Fault]:
    """Files of which the other checks know nothing."""
    for path, marks in stage.inventory.marks.items():
        for mark, message in _UNREADABLE.items():
            if mark in marks:
                yield Fault(path=path, value=str(mark), message=message)


def missing_interpreters(stage: Stage) -> Iterator[Fault]:
    """Scripts that may be executed and cannot."""
    for path, line in stage.inventory.scripts.items():
        entry = stage.inventory.files.get(path)
        if entry and entry.kind in (Kind.FILE, Kind.HARD_LINK) and entry.mode & EXECUTABLE:
            missing = _missing(stage, line.split())
            if missing:
                message = f"its interpreter {cut(missing)} is not in the stage"
                yield Fault(path=path, value=cut(missing), message=message)


def _missing(stage: Stage, words: list[str]) -> str:
    """What of a `#!` line is not in the stage; empty if all is there."""
    if not words:
        return ""
    interpreter, *arguments = words
    if not (interpreter.startswith("/") and stage.tree.file_at(interpreter)):
        return interpreter
    if interpreter.rpartition("/")[2] != "env":
        return ""
    program = _program_of_env(arguments)
    folders = ("",) if program.startswith("/") else tuple(f"{folder}/" for folder in PATH)
    found = not program or any(stage.tree.file_at(f"{folder}{program}") for folder in folders)
    return "" if found else program


def _program_of_env(arguments: list[str]) -> str:
    """The program that `env` starts: after options such as `-S` and variables."""
    for argument in arguments:
        word = argument.removeprefix("-S")
        if word and not word.startswith("-") and "=" not in word:
            return word
    return ""
