"""Sites about a release of a `Shop`, and builds in a ledger for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.formats.reader import Seconds
from orchestrator.formats.releasefile import Selection
from orchestrator.gate.holds import Holds
from orchestrator.report.published import Source
from orchestrator.report.site import Report, write_site
from tasks.ledger.answers import ClaimedAttempt
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.reporting import Line
from tasks.results import Artifact, Cause, NumberedLine, StepResult
from tasks.settings import Settings
from tests.ledgers import LONG_S, ONE, a_build
from tests.releases import DAY_S, Shop

CONTRACT = Selection(variant="$flavour", max_age=Seconds(7 * DAY_S))


def a_shop(folder: Path) -> Shop:
    return Shop(folder, stages=(CONTRACT,))


def source_of(shop: Shop) -> Source:
    return Source(
        title="nightly stable",
        release=shop.release(),
        publisher=shop.publisher(),
        holds=Holds(file=shop.folder / "holds.json"),
    )


def report(
    shop: Shop,
    ledger: Ledger | None = None,
    *,
    now: float = 0.0,
    builds_max: int = 100,
    settings: Settings | None = None,
) -> Report:
    """Write the site about the shop's release to `site` in its folder."""
    return write_site(
        [source_of(shop)],
        ledger,
        shop.folder / "site",
        settings or Settings(store_url=shop.store.as_uri()),
        now=now or shop.now,
        builds_max=builds_max,
    )


def begun(
    ledger: Ledger, build: str, flavour: str = "minimal", job: str = "stage3", batch: str = ""
) -> ClaimedAttempt:
    """A build whose first step runs on host `one`."""
    planned = a_build(
        build,
        job=job,
        environment={"flavour": flavour},
        variant=f"flavour={flavour}",
        batch=batch,
    )
    assert ledger.submit([planned]) == []
    claim = ClaimedAttempt(build, 1, ONE)
    ledger.claim(claim, LONG_S)
    ledger.begin_step(claim, 0, "token")
    return claim


def succeeded(ledger: Ledger, build: str, flavour: str = "minimal", batch: str = "") -> None:
    claim = begun(ledger, build, flavour, batch=batch)
    ledger.end_step(claim, 0, StepResult())
    made = Artifact(
        name="a.tar.zst", path=f"/store/{build}/a.tar.zst", size_bytes=5000, sha256="ab"
    )
    ledger.finish(claim, (made,), "")


def failed(
    ledger: Ledger,
    build: str,
    reason: str,
    log: Sequence[str] = (),
    flavour: str = "minimal",
    cause: Cause | None = None,
    batch: str = "",
) -> None:
    """A build that failed, with its log in Redis only."""
    claim = begun(ledger, build, flavour, batch=batch)
    lines = [Line(text=text) for text in log]
    Logbook(ledger.connection).write(Page(build, 1, 0), lines, 100_000)
    ledger.fail(claim, "BuildFailed", reason, "", cause=cause)


def a_cause(line: int, *excerpt: str, **changes: object) -> Cause:
    """A cause in the first lines of a log, `excerpt`."""
    cause = Cause(
        rule="full-disk",
        kind="disk",
        message="no space left",
        fingerprint="0123456789abcdef",
        line=line,
        excerpt=tuple(NumberedLine(number=n, text=text) for n, text in enumerate(excerpt, 1)),
    )
    return replace(cause, **changes)  # type: ignore[arg-type]
