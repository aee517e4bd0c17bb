"""The checks that keep the tree as it is meant to be: format, lint, types, arrows of imports."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_tool_is_content(command: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names | froms}


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").rglob("*.py")), ids=str)
def test_tasks_knows_nothing_of_the_orchestrator(file: Path) -> None:
    assert imported(file).isdisjoint({"orchestrator", "yaml", "jinja2", "click"})


def test_no_test_is_skipped_because_our_own_code_is_broken() -> None:
    """`importorskip` takes a module that cannot be imported for one that is not installed."""
    skipping = re.compile(r"""importorskip\(\s*["'](tasks|orchestrator|tests)\b""")
    broken = [file for file in (ROOT / "tests").rglob("*.py") if skipping.search(file.read_text())]
    assert broken == []


def test_no_test_sleeps() -> None:
    """Tests wait for conditions: see tests/waiting.py. The random delays of the soak are its
    purpose."""
    sleeping = re.compile(r"\btime\.sleep\(|from time import .*\bsleep\b|\bEvent\(\)\.wait\(")
    known = {"faults/test_soak.py", "bench/noop_worker.py", "unit/test_lint.py"}
    files = (ROOT / "tests").rglob("*.py")
    found = [
        file.relative_to(ROOT / "tests") for file in files if sleeping.search(file.read_text())
    ]
    assert {str(file) for file in found} - known == set()


# The arrows between folders


def folder_of(module: str) -> str:
    """`tasks/ledger` for `tasks.ledger.hosts`; empty for a module that is in no folder."""
    top, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return f"{top}/{name}" if (ROOT / top / name).is_dir() and name else ""


def modules_of(file: Path) -> set[str]:
    """The modules of this project that `file` imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] in ("tasks", "orchestrator")}


def arrows_of_the_code() -> set[tuple[str, str]]:
    return {
        (origin, target)
        for top in ("tasks", "orchestrator")
        for file in (ROOT / top).rglob("*.py")
        if (origin := folder_of(".".join(file.relative_to(ROOT).with_suffix("").parts)))
        for module in modules_of(file)
        if (target := folder_of(module)) and target != origin
    }


def arrows_of_the_map() -> set[tuple[str, str]]:
    """The lines `tasks/step -> tasks/host tasks/rootfs` in docs/architecture.md."""
    text = (ROOT / "docs/architecture.md").read_text()
    return {
        (origin, target)
        for origin, targets in re.findall(r"^(\w+/\w+) +-> *(.*)$", text, re.MULTILINE)
        for target in targets.split()
    }


def test_imports_between_folders_are_the_arrows_of_the_map() -> None:
    code, drawn = arrows_of_the_code(), arrows_of_the_map()
    assert code - drawn == set(), "imports that docs/architecture.md does not draw"
    assert drawn - code == set(), "arrows that no import follows"


def test_no_arrow_of_the_map_leads_back() -> None:
    graph: dict[str, set[str]] = {}
    for origin, target in arrows_of_the_map():
        graph.setdefault(origin, set()).add(target)
    assert list(TopologicalSorter(graph).static_order()), "raises CycleError for a circle"


def test_every_folder_says_what_it_is_for() -> None:
    for top in ("tasks", "orchestrator"):
        for init in (ROOT / top).glob("*/__init__.py"):
            assert ast.get_docstring(ast.parse(init.read_text())), init


@pytest.mark.parametrize("file", sorted((ROOT / "tests/bench").glob("*.py")), ids=str)
def test_the_bench_can_be_imported(file: Path) -> None:
    import_module(f"tests.bench.{file.stem}")
