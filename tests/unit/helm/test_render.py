"""The template language as specfiles use it."""

from datetime import UTC, datetime

import pytest

from orchestrator.helm import render
from tasks.errors import TemplateError

NOW = datetime(2026, 11, 22, 21, 5, tzinfo=UTC)


def test_renders_with_options_and_now() -> None:
    text = "{{ .Values.name | upper }}-{{ dateInZone `2006` now `UTC` }}"
    assert render(text, {"name": "stage3"}, name="t", now=NOW) == "STAGE3-2026"


def test_an_error_has_its_place() -> None:
    with pytest.raises(TemplateError) as caught:
        render("a\nb {{ .Values.missing.deeper }}", {}, name="job.yaml")
    error = caught.value
    assert (error.file, error.line, error.column) == ("job.yaml", 2, 6)
    assert error.expression == ".Values.missing.deeper"
