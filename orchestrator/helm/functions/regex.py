"""Regular expressions as in Go, with RE2's syntax: linear in time for any pattern.

RE2 does the matching; the sequence of matches, and the meaning of `$1` in a replacement, are as
in Go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Slice, from_bytes, strings, to_bytes

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run

ANY_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")  # in RE2, not in Go
QUOTED = re.compile(r"\\Q.*?(?:\\E|$)", re.DOTALL)
Spans: TypeAlias = list[tuple[int, int]]  # of the match and of its groups; -1 where one is missing


@lru_cache(maxsize=128)
def compiled(pattern: str) -> Any:
    import re2  # type: ignore[import-untyped]

    if ANY_BYTE.search(QUOTED.sub("", pattern)):
        raise FunctionError("error parsing regexp: invalid escape sequence: `\\C`")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(to_bytes(pattern), options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise FunctionError(f"error parsing regexp: {text}") from error


def spans(found: Any) -> Spans:
    return [found.span(group) for group in range(len(found.groups()) + 1)]


def character_width(data: bytes, pos: int) -> int:
    """The bytes of the character at `pos`, at least one."""
    if pos >= len(data) or data[pos] < 0xC0:
        return 1
    width = 2 + (data[pos] >= 0xE0) + (data[pos] >= 0xF0)
    return width if all(0x80 <= byte < 0xC0 for byte in data[pos + 1 : pos + width]) else 1


def matches(run: Run, expression: Any, data: bytes, limit: int) -> Iterator[Spans]:
    """The matches in sequence; an empty one directly after another is skipped."""
    pos, last_end, count = 0, -1, 0
    while pos <= len(data) and count != limit:
        found = expression.search(data, pos)
        if not found:
            return
        run.budget.step()
        start, end = found.span()
        if end > pos:
            pos = end
        else:
            pos += character_width(data, pos)
        if start == end and start == last_end:
            continue
        last_end = end
        count += 1
        yield spans(found)


def regex_match(pattern: str, text: str) -> bool:
    """An invalid pattern matches nothing."""
    try:
        return must_regex_match(pattern, text)
    except FunctionError:
        return False


def must_regex_match(pattern: str, text: str) -> bool:
    return compiled(pattern).search(to_bytes(text)) is not None


def regex_find(pattern: str, text: str) -> str:
    found = compiled(pattern).search(to_bytes(text))
    return from_bytes(found.group()) if found else ""


def regex_find_all(run: Run, pattern: str, text: str, limit: int) -> Slice:
    data = to_bytes(text)
    found = [
        from_bytes(data[start:end])
        for (start, end), *_ in matches(run, compiled(pattern), data, limit)
    ]
    return strings(found, is_nil=not found)


def regex_split(run: Run, pattern: str, text: str, limit: int) -> Slice:
    expression, data = compiled(pattern), to_bytes(text)
    if limit == 0:
        return strings((), is_nil=True)
    if pattern and not text:
        return strings([""])
    parts: list[str] = []
    begin = end = 0
    for (start, stop), *_ in matches(run, expression, data, limit):
        if 0 < limit == len(parts) + 1:
            break
        end = start
        if stop:
            parts.append(from_bytes(data[begin:end]))
        begin = stop
    if end != len(data):
        parts.append(from_bytes(data[begin:]))
    return strings(parts)


def regex_replace_all(run: Run, pattern: str, text: str, replacement: str) -> str:
    """`$1`, `${1}` and `${name}` in the replacement are the text of a group."""
    expression = compiled(pattern)
    template = parsed_template(replacement)
    groups: Mapping[bytes, int] = expression.groupindex

    def expand(data: bytes, found: Spans) -> bytes:
        return b"".join(
            part if isinstance(part, bytes) else group_text(data, found, part, groups)
            for part in template
        )

    return replaced(run, expression, text, expand)


def regex_replace_all_literal(run: Run, pattern: str, text: str, replacement: str) -> str:
    literal = to_bytes(replacement)
    return replaced(run, compiled(pattern), text, lambda _, __: literal)


def replaced(run: Run, expression: Any, text: str, expand: Any) -> str:
    data = to_bytes(text)
    pieces: list[bytes] = []
    pos = last_end = size = 0
    while pos <= len(data):
        found = expression.search(data, pos)
        if not found:
            break
        run.budget.step()
        start, end = found.span()
        pieces.append(data[last_end:start])
        if end > last_end or start == 0:
            pieces.append(expand(data, spans(found)))
            size += len(pieces[-1])
            run.budget.reserve(size if size > run.budget.limits.size else len(pieces[-1]))
        last_end = end
        pos = max(end, pos + character_width(data, pos))
    return from_bytes(b"".join((*pieces, data[last_end:])))


Group: TypeAlias = str  # the number or name of a group
NAME = re.compile(r"\$(?:\$|\{(?P<braced>\w+)\}|(?P<bare>\w+))")


def parsed_template(replacement: str) -> list[bytes | Group]:
    """Literal bytes, and the groups between them."""
    parts: list[bytes | Group] = []
    end = 0
    for found in NAME.finditer(replacement):
        parts.append(to_bytes(replacement[end : found.start()]))
        parts.append(found["braced"] or found["bare"] or b"$")
        end = found.end()
    parts.append(to_bytes(replacement[end:]))
    return parts


def group_text(data: bytes, found: Spans, group: Group, groups: Mapping[bytes, int]) -> bytes:
    is_number = group.isascii() and group.isdigit() and (group == "0" or group[0] != "0")
    number = int(group[:9]) if is_number else groups.get(to_bytes(group), -1)
    if not 0 <= number < len(found) or found[number][0] < 0:
        return b""
    start, end = found[number]
    return data[start:end]


def regex_quote_meta(text: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


FUNCTIONS: Mapping[str, Function] = {
    "mustRegexFind": regex_find,
    "mustRegexFindAll": regex_find_all,
    "mustRegexMatch": must_regex_match,
    "mustRegexReplaceAll": regex_replace_all,
    "mustRegexReplaceAllLiteral": regex_replace_all_literal,
    "mustRegexSplit": regex_split,
    "regexFind": regex_find,
    "regexFindAll": regex_find_all,
    "regexMatch": regex_match,
    "regexQuoteMeta": regex_quote_meta,
    "regexReplaceAll": regex_replace_all,
    "regexReplaceAllLiteral": regex_replace_all_literal,
    "regexSplit": regex_split,
}
