"""What `make mutants` makes of a script: the changes that a test has to notice."""

from __future__ import annotations

import pytest

from tests.mutants import lua, python
from tests.mutants.mutant import mutant_of


def changes(original: str, mutated: list[str]) -> list[str]:
    return sorted(mutant_of("file", original, text).now for text in mutated)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("if a == b then", ["if a ~= b then"]),
        ("if not a then", ["if a then"]),
        ("if a then", ["if not (a) then"]),
        ("if a >= 1 then", ["if a < 1 then", "if a > 1 then"]),
        (
            "if a or f(b, c) then",
            ["if a and f(b, c) then", "if a then", "if f(b, c) then", "if not (a or f(b, c)) then"],
        ),
        ("return x and y", ["return x", "return x or y", "return y"]),
        ("redis.call('DEL', key('a', b))", ["do end"]),
        ("local a = b + 1", ["local a = b - 1"]),
        ("redis.call('ZADD', k, 'NX', 1, 2)", ["do end", "redis.call('ZADD', k, 1, 2)"]),
        ("set(id, 'a', 1, 'b', f(2))", ["do end", "set(id, 'a', 1)", "set(id, 'b', f(2))"]),
        ("-- if a == b then and redis.call()", []),
        ("local a = 'if not b == c then'", []),
    ],
)
def test_mutants_of_a_line_of_lua(line: str, expected: list[str]) -> None:
    made = [" ".join(text.split()) for text in lua.mutations(line)]
    assert sorted(made) == expected


def test_an_operand_ends_with_its_statement() -> None:
    text = "local a = b and\n  c\nlocal d = f(e or\n  g)\nreturn a"
    made = changes(text, list(lua.mutations(text)))
    first = ["local a = c", "local a = b", "local a = b or"]
    assert made == sorted([*first, "local d = f(g)", "local d = f(e)", "local d = f(e and"])


def test_python_has_mutants_that_no_operator_of_others_makes() -> None:
    text = 'sync(a)\nrun(["rm", "-r", a])\nif a == "b":\n    g()\n'
    made = changes(text, list(python.mutations(text)))
    assert made == [
        'if not a == "b":',
        "pass",
        "pass",
        "pass",
        'run(["rm", "-r"])',
        'run(["rm", a])',
    ]


def test_the_star_before_keyword_only_parameters_is_left_alone() -> None:
    text = "def f(\n    a,\n    *,\n    b,\n): ...\ndef g(self, *, c):\n    return c * 3\n"
    assert "return c / 3" in changes(text, list(python.mutations(text)))
    assert not any("/," in mutated for mutated in python.mutations(text))


def test_what_only_mypy_or_a_reader_of_types_sees_is_left_alone() -> None:
    text = "if TYPE_CHECKING:\n    import a\nclass B(C, frozen=True): ...\n"
    assert list(python.mutations(text)) == []


def test_a_mutant_has_a_name_that_does_not_move() -> None:
    mutant = mutant_of("x.lua", "one\n  two  three\nfour", "one\n  2  three\nfour")
    assert mutant.name == ("x.lua", "two three", "2 three")
