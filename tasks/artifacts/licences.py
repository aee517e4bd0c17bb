"""Which texts about licences are SPDX licence expressions."""

from __future__ import annotations

import re
from functools import cache

_LOWER_OPERATOR = re.compile(r"(?<![\w.-])(and|or|with)(?![\w.-])")


@cache
def is_expression(text: str) -> bool:
    """Whether `text` is an expression of licences that SPDX lists. References to licences of a
    document's own (`LicenseRef-`) are not: the document does not have their texts."""
    if not text or "licenseref-" in text.lower() or _LOWER_OPERATOR.search(text):
        return False
    from cyclonedx import spdx  # reads SPDX's list, which takes a moment

    return spdx.is_expression(text)
