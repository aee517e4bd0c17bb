"""Sprig's functions on URLs."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.functions.dicts import GoMap
from orchestrator.helm.signature import Function
from orchestrator.helm.values import kind_of


def url_parse(text: str) -> dict[str, object]:
    from orchestrator.helm.urls import parse

    url = parse(text)
    return {
        "scheme": url.scheme,
        "host": url.host,
        "hostname": url.hostname,
        "path": url.path,
        "query": url.query,
        "opaque": url.opaque,
        "fragment": url.fragment,
        "userinfo": url.user or "",
    }


def url_join(parts: GoMap) -> str:
    from orchestrator.helm.urls import Url, parse

    user = text_of(parts, "userinfo")
    url = Url(
        scheme=text_of(parts, "scheme"),
        opaque=text_of(parts, "opaque"),
        user=parse(f"proto://{user}@host").user if user else None,
        host=text_of(parts, "host"),
        path=text_of(parts, "path"),
        query=text_of(parts, "query"),
        fragment=text_of(parts, "fragment"),
    )
    return str(url)


def text_of(parts: GoMap, key: str) -> str:
    value = parts.get(key, "")
    if not isinstance(value, str):
        raise FunctionError(
            f"unable to parse {key} key, must be of type string, but {kind_of(value)} found"
        )
    return value


FUNCTIONS: Mapping[str, Function] = {"urlJoin": url_join, "urlParse": url_parse}
