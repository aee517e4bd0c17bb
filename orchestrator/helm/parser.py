"""Tokens to nodes: a recursive descent parser of the language of Go's text/template.

Functions must be known and variables declared when a template is parsed, as in Go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from orchestrator.helm import ast
from orchestrator.helm.errors import SyntaxProblem
from orchestrator.helm.lexer import T, Token, lex
from orchestrator.helm.literals import number, unquote

MAX_DEPTH = 500  # of nested parentheses and blocks

BRANCHES: dict[T, type[ast.If | ast.With | ast.Range]] = {
    T.IF: ast.If,
    T.WITH: ast.With,
    T.RANGE: ast.Range,
}
LITERALS: dict[T, Callable[[Token], ast.Operand]] = {
    T.DOT: lambda token: ast.Dot(token.pos),
    T.NIL: lambda token: ast.Nil(token.pos),
    T.FIELD: lambda token: ast.Field(token.pos, (token.text[1:],)),
    T.BOOL: lambda token: ast.Bool(token.pos, token.text == "true"),
    T.STRING: lambda token: ast.String(token.pos, token.text, unquote(token)),
    T.RAWSTRING: lambda token: ast.String(token.pos, token.text, unquote(token)),
    T.NUMBER: number,
    T.COMPLEX: number,
    T.CHARCONST: number,
}
OPERANDS = LITERALS.keys() | {T.IDENTIFIER, T.VARIABLE, T.LPAREN}
CONSTANTS = (ast.Bool, ast.Dot, ast.Nil, ast.Number, ast.String)
END_HINT = "every if, with, range, define and block needs its {{ end }}"


def parse(
    text: str, name: str, functions: Collection[str], *, file: str
) -> dict[str, ast.Template]:
    """The templates in `text`: the main one, called `name`, and those it defines.

    `file` is for error messages. Raises `SyntaxProblem`.
    """
    parser = Parser(text, file, functions)
    parser.parse(name)
    return parser.templates


class Parser:
    def __init__(self, text: str, file: str, functions: Collection[str]) -> None:
        self.text = text
        self.file = file
        self.functions = functions
        self.templates: dict[str, ast.Template] = {}
        self.source: Iterator[Token] = lex(text)
        self.seen: list[Token] = []
        self.index = 0
        self.variables = ["$"]
        self.loops = 0
        self.depth = 0

    # Tokens: `index` may move back within `seen`.

    def next(self) -> Token:
        if self.index == len(self.seen):
            self.seen.append(next(self.source))
        self.index += 1
        return self.seen[self.index - 1]

    def peek(self) -> Token:
        token = self.next()
        self.index -= 1
        return token

    def skip_space(self) -> Token:
        """The next token that is not a space, without taking it."""
        while self.peek().kind is T.SPACE:
            self.index += 1
        return self.peek()

    def next_solid(self) -> Token:
        self.skip_space()
        return self.next()

    def expect(self, kind: T, context: str) -> Token:
        token = self.next_solid()
        if token.kind is not kind:
            raise unexpected(token, context)
        return token

    # Statements

    def parse(self, name: str) -> None:
        body: list[ast.Statement] = []
        while self.peek().kind is not T.EOF:
            if self.at_definition():
                self.definition()
                continue
            node = self.statement()
            if isinstance(node, Token):
                hint = "no if, with, range, define or block is open here"
                raise SyntaxProblem(f"unexpected {{{{{node.text}}}}}", node.pos, hint)
            body.append(node)
        self.add(name, tuple(body), 0)

    def at_definition(self) -> bool:
        """Whether `{{ define` is next; if so, take it."""
        start = self.index
        if self.next().kind is T.LEFT and self.next_solid().kind is T.DEFINE:
            return True
        self.index = start
        return False

    def definition(self) -> None:
        start = self.seen[self.index - 1].pos
        name = self.template_name("define clause")
        self.expect(T.RIGHT, "define clause")
        with self.scope_of_definition():
            body, end = self.body()
        if end.kind is not T.END:
            raise unexpected(end, "define clause")
        self.add(name, body, start)

    @contextmanager
    def scope_of_definition(self) -> Iterator[None]:
        """A definition has no access to variables and loops of the text around it."""
        outside = self.variables, self.loops
        self.variables, self.loops = ["$"], 0
        with self.deeper(self.peek()):
            yield
        self.variables, self.loops = outside

    @contextmanager
    def deeper(self, token: Token) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise SyntaxProblem(f"more than {MAX_DEPTH} nested parentheses or blocks", token.pos)
        yield
        self.depth -= 1

    def add(self, name: str, body: ast.Body, pos: int) -> None:
        template = ast.Template(name, body, self.text, self.file)
        known = self.templates.get(name)
        if known is None or known.is_blank:
            self.templates[name] = template
        elif not template.is_blank:
            raise SyntaxProblem(f'multiple definition of template "{name}"', pos)

    def body(self) -> tuple[ast.Body, Token]:
        """Statements up to `{{ end` or `{{ else`, and that keyword."""
        nodes: list[ast.Statement] = []
        while (token := self.skip_space()).kind is not T.EOF:
            node = self.statement()
            if isinstance(node, Token):
                return tuple(nodes), node
            nodes.append(node)
        raise SyntaxProblem("unexpected end of the template", token.pos, END_HINT)

    def statement(self) -> ast.Statement | Token:
        """One statement, or the keyword of an `{{ end }}` or `{{ else }}`."""
        token = self.next_solid()
        if token.kind is T.TEXT:
            return ast.Text(token.pos, token.text)
        if token.kind is not T.LEFT:
            raise unexpected(token, "input")
        return self.action()

    def action(self) -> ast.Statement | Token:
        token = self.skip_space()
        match token.kind:
            case T.IF | T.WITH | T.RANGE:
                return self.control(self.next())
            case T.BREAK | T.CONTINUE:
                return self.jump(self.next())
            case T.ELSE:
                return self.otherwise(self.next())
            case T.END:
                self.next()
                self.expect(T.RIGHT, "end")
                return token
            case T.TEMPLATE | T.BLOCK:
                return self.call(self.next())
        return ast.Action(token.pos, self.pipeline("command", T.RIGHT))

    def jump(self, keyword: Token) -> ast.Statement:
        self.expect(T.RIGHT, f"{{{{{keyword.text}}}}}")
        if not self.loops:
            raise SyntaxProblem(f"{{{{{keyword.text}}}}} outside {{{{range}}}}", keyword.pos)
        kind = ast.Break if keyword.kind is T.BREAK else ast.Continue
        return kind(keyword.pos)

    def otherwise(self, keyword: Token) -> Token:
        """`{{ else }}`; before `if` and `with` the action continues, see `control`."""
        if self.skip_space().kind not in (T.IF, T.WITH):
            self.expect(T.RIGHT, "else")
        return keyword

    def control(self, keyword: Token) -> ast.Statement:
        """`if`, `with`, `range`. `{{ else if x }}` is `{{ else }}{{ if x }}`; one `end` less."""
        outside = len(self.variables)
        is_loop = keyword.kind is T.RANGE
        with self.deeper(keyword):
            pipeline = self.pipeline(keyword.text, T.RIGHT)
            self.loops += is_loop
            body, end = self.body()
            self.loops -= is_loop
            otherwise = self.else_of(keyword) if end.kind is T.ELSE else None
        del self.variables[outside:]
        return BRANCHES[keyword.kind](pipeline.pos, pipeline, body, otherwise)

    def else_of(self, keyword: Token) -> ast.Body:
        follower = self.peek()
        if follower.kind in (T.IF, T.WITH):
            if follower.kind is not keyword.kind:
                raise SyntaxProblem(
                    f"unexpected {follower.text} in else of {keyword.text}", follower.pos
                )
            return (self.control(self.next()),)
        body, end = self.body()
        if end.kind is not T.END:
            raise SyntaxProblem(f"expected end; found {{{{{end.text}}}}}", end.pos, END_HINT)
        return body

    def call(self, keyword: Token) -> ast.Call:
        context = f"{keyword.text} clause"
        pos = self.skip_space().pos
        name = self.template_name(context)
        if keyword.kind is T.TEMPLATE and self.skip_space().kind is T.RIGHT:
            self.next()
            return ast.Call(pos, name, None)
        pipeline = self.pipeline(context, T.RIGHT)
        if keyword.kind is T.BLOCK:
            self.block(name, pos)
        return ast.Call(pos, name, pipeline)

    def block(self, name: str, pos: int) -> None:
        with self.scope_of_definition():
            body, end = self.body()
        if end.kind is not T.END:
            raise unexpected(end, "block clause")
        self.add(name, body, pos)

    def template_name(self, context: str) -> str:
        token = self.next_solid()
        if token.kind not in (T.STRING, T.RAWSTRING):
            raise unexpected(token, context, "the name of a template is a quoted string")
        return unquote(token)

    # Pipelines

    def pipeline(self, context: str, end: T) -> ast.Pipeline:
        pos = self.skip_space().pos
        variables, assigns = self.declarations(context)
        commands: list[ast.Command] = []
        while (token := self.skip_space()).kind is not end:
            if token.kind not in OPERANDS:
                raise unexpected(token, context)
            commands.append(self.command())
        self.next()
        if not commands:
            raise SyntaxProblem(f"missing value for {context}", token.pos)
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], CONSTANTS):
                raise SyntaxProblem(
                    f"non executable command in pipeline stage {stage}",
                    command.pos,
                    "what follows a | must be a function",
                )
        return ast.Pipeline(pos, variables, assigns, tuple(commands))

    def declarations(self, context: str) -> tuple[tuple[ast.Variable, ...], bool]:
        """`$x :=`, `$x =`, and in a range also `$i, $x :=`."""
        declared: list[ast.Variable] = []
        while (token := self.skip_space()).kind is T.VARIABLE:
            start = self.index
            self.next()
            sign = self.skip_space()
            comma = sign.kind is T.CHAR and sign.text == ","
            if not comma and sign.kind not in (T.ASSIGN, T.DECLARE):
                self.index = start
                break
            self.next()
            declared.append(ast.Variable(token.pos, token.text))
            self.variables.append(token.text)
            if not comma:
                return tuple(declared), sign.kind is T.ASSIGN
            self.check_second_variable(context, len(declared), sign)
        return tuple(declared), False

    def check_second_variable(self, context: str, count: int, comma: Token) -> None:
        if context != "range" or count > 1:
            hint = "only range sets two variables: {{ range $index, $element := ... }}"
            raise SyntaxProblem(f"too many declarations in {context}", comma.pos, hint)
        if self.skip_space().kind not in (T.VARIABLE, T.RIGHT, T.RPAREN):
            raise SyntaxProblem("range can only initialize variables", comma.pos)

    def command(self) -> ast.Command:
        pos = self.skip_space().pos
        operands: list[ast.Operand] = []
        while True:
            self.skip_space()
            operand = self.operand()
            if operand is not None:
                operands.append(operand)
            token = self.peek()
            if token.kind is T.SPACE:
                continue
            if token.kind is T.PIPE:
                self.next()
            elif token.kind not in (T.RIGHT, T.RPAREN):
                raise unexpected(token, "operand")
            break
        if not operands:
            raise SyntaxProblem("empty command", pos, "something is missing before the |")
        return ast.Command(pos, tuple(operands))

    def operand(self) -> ast.Operand | None:
        """A term with its fields; None if no term is next."""
        term = self.term()
        if term is None or self.peek().kind is not T.FIELD:
            return term
        pos = self.peek().pos
        fields: list[str] = []
        while self.peek().kind is T.FIELD:
            fields.append(self.next().text[1:])
        match term:
            case ast.Field():
                return ast.Field(term.pos, (*term.names, *fields))
            case ast.Variable():
                return ast.Variable(term.pos, term.name, (*term.fields, *fields))
            case ast.Bool() | ast.String() | ast.Number() | ast.Nil() | ast.Dot():
                raise SyntaxProblem(f"unexpected . after term {term}", pos)
        return ast.Chain(term.pos, term, tuple(fields))

    def term(self) -> ast.Operand | None:
        token = self.skip_space()
        if token.kind not in OPERANDS:
            return None
        self.next()
        if token.kind is T.LPAREN:
            with self.deeper(token):
                return self.pipeline("parenthesized pipeline", T.RPAREN)
        if token.kind is T.IDENTIFIER:
            return self.function(token)
        if token.kind is T.VARIABLE:
            return self.variable(token)
        return LITERALS[token.kind](token)

    def function(self, token: Token) -> ast.Identifier:
        if token.text not in self.functions:
            raise SyntaxProblem(
                f'function "{token.text}" not defined',
                token.pos,
                did_you_mean(token.text, self.functions)
                or f"options are read with a dot: .Values.{token.text}",
            )
        return ast.Identifier(token.pos, token.text)

    def variable(self, token: Token) -> ast.Variable:
        if token.text not in self.variables:
            hint = did_you_mean(token.text, self.variables) or "declare it with :="
            raise SyntaxProblem(f'undefined variable "{token.text}"', token.pos, hint)
        return ast.Variable(token.pos, token.text)


def did_you_mean(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def unexpected(token: Token, context: str, hint: str = "") -> SyntaxProblem:
    return SyntaxProblem(f"unexpected {token} in {context}", token.pos, hint)
