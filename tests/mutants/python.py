"""Mutants of Python modules: Cosmic Ray's operators, and those it lacks.

Cosmic Ray rather than mutmut, because mutmut leaves decorated functions alone: here these are the
context managers that lock, publish and write files. Its own runner starts an interpreter for each
mutant, of which only one file at a time can be under test; ours (`running`) does neither.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

OPERATORS = (
    "AddNot",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceUnaryOperator_Delete_Not",
    "ZeroIterationForLoop",
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div")),
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
    ),
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")
    ),
)
"""Those that give one sensible opposite; `a / b` of paths as `a * b` is a TypeError at once."""


class _OurOperator(Operator):
    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropCall(_OurOperator):
    """Leaves out a call that is a statement of its own."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        call = node.children[0]
        node.children[0] = parso.parse(f"{call.get_first_leaf().prefix}pass")
        return node


class DropWord(_OurOperator):
    """Leaves out one word of an argument list for a program."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "testlist_comp":
            for child in node.children[1::2]:  # the first is the program
                yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        del node.children[2 * index + 1 : 2 * index + 3]
        return node


class CatchNothing(_OurOperator):
    """Leaves what an `except` is for uncaught. Cosmic Ray's own fails at dotted names."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "except_clause":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(" ()")
        return node


OURS = (DropCall, DropWord, CatchNothing)


_LEFT_ALONE = re.compile(
    r"^[A-Z][A-Z_, ]*(: \w+)? = |^ +\w+: (int|float|bool) = |^ *def |^@dataclass"
    r"|\b(strict|transaction)=$|^class "
)
"""What comes before that which is left alone: numbers that somebody chose, defaults, `frozen=True`,
and what only speed depends on."""

_NO_CODE = ("*,", "if TYPE_CHECKING:", "TYPE_CHECKING:")
"""What is left alone too: the star before keyword-only parameters, and what only mypy reads."""


def mutations(text: str) -> Iterator[str]:
    """`text` with one thing changed, for each thing worth changing."""
    provider, nodes = OperatorProvider(), list(ast_nodes(get_ast(text)))
    known = {_program(text), ""}
    for operator in (*(provider[name]() for name in OPERATORS), *(kind() for kind in OURS)):
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, ((line, column), _end) in enumerate(places):
            whole = text.splitlines()[line - 1]
            if _LEFT_ALONE.search(whole[:column]) or whole[column:].startswith(_NO_CODE):
                continue
            mutated = mutate_code(text, operator, occurrence)
            if mutated is not None and (program := _program(mutated)) not in known:
                known.add(program)
                yield mutated


def _program(text: str) -> str:
    """The same for two texts that do the same, as far as that is easy to see; empty if `text` is
    no Python."""
    try:
        return ast.dump(_Plain().visit(ast.parse(text)))
    except SyntaxError:
        return ""


class _Plain(ast.NodeTransformer):
    """Says `not a == b` as `a != b`."""

    OPPOSITES: ClassVar = {
        ast.Eq: ast.NotEq,
        ast.Is: ast.IsNot,
        ast.In: ast.NotIn,
        ast.Lt: ast.GtE,
        ast.Gt: ast.LtE,
    }
    BOTH: ClassVar = OPPOSITES | {b: a for a, b in OPPOSITES.items()}

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(ast.Not(), ast.Compare(left, [sign], values)):
                return ast.Compare(left, [self.BOTH[type(sign)]()], values)
            case ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), operand)):
                return operand
        return node
