"""The functions that a template may call, by family."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.helm.functions import (
    builtins,
    dates,
    defaults,
    dicts,
    encodings,
    formats,
    helm,
    keys,
    lists,
    numbers,
    paths,
    randoms,
    regex,
    semver,
    strings,
    urls,
)
from orchestrator.helm.signature import Function

# Later families override earlier ones: Sprig's `slice` over that of text/template.
FUNCTIONS: Mapping[str, Function] = {
    **builtins.FUNCTIONS,
    **strings.FUNCTIONS,
    **numbers.FUNCTIONS,
    **lists.FUNCTIONS,
    **defaults.FUNCTIONS,
    **dicts.FUNCTIONS,
    **dates.FUNCTIONS,
    **encodings.FUNCTIONS,
    **paths.FUNCTIONS,
    **formats.FUNCTIONS,
    **regex.FUNCTIONS,
    **semver.FUNCTIONS,
    **urls.FUNCTIONS,
    **randoms.FUNCTIONS,
    **keys.FUNCTIONS,
    **helm.FUNCTIONS,
}
