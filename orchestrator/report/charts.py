"""Charts as shapes of SVG, for the templates: bars over builds, and steps over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600.0, 120.0
_SPAN = 14.0
_GAP = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars from the oldest to the newest; `low` and `high` are the least and the greatest value in
    words. The bars begin at 0, so that their heights can be compared."""

    title: str
    bars: tuple[Bar, ...]
    low: str
    high: str
    width: float = WIDTH
    height: float = HEIGHT


def chart(
    title: str, values: Sequence[tuple[str, float]], words: Callable[[float], str]
) -> Chart | None:
    """The chart of labelled `values`, oldest first; None if there are not at least two."""
    if len(values) < 2:
        return None
    most = max(value for _, value in values) or 1.0
    step = min(WIDTH / len(values), 4 * _SPAN)
    bars = tuple(
        Bar(
            x=round(number * step, 1),
            y=round(HEIGHT * (1 - value / most), 1),
            width=round(step - min(_GAP, step / 4), 1),
            height=round(HEIGHT * value / most, 1),
            title=f"{label}: {words(value)}",
        )
        for number, (label, value) in enumerate(values)
    )
    every = [value for _, value in values]
    return Chart(title=title, bars=bars, low=words(min(every)), high=words(max(every)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When a step ran, in hundredths of the whole."""

    start: float
    width: float


def spans(times: Sequence[tuple[float, float]], until: float) -> list[Span | None]:
    """A span for each step, which runs from its begin to its end, or to `until` if it has not
    ended; None for those that have not begun."""
    first = min((began for began, _ in times if began), default=0.0)
    last = max([until, *(ended for _, ended in times)], default=0.0)
    whole = max(last - first, 1e-3)
    return [
        Span(
            start=round(100 * (began - first) / whole, 2),
            width=round(max(100 * ((ended or last) - began) / whole, 0.5), 2),
        )
        if began
        else None
        for began, ended in times
    ]
