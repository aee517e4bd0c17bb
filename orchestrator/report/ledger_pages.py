"""The pages of builds and of causes of failures: made again where the ledger has told of a change,
some hundred at a time, so that neither memory nor round trips grow with what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from orchestrator.report.builds import KnownBuilds, build_group
from orchestrator.report.charts import spans
from orchestrator.report.details import Log, log_of, possible_times, tests_of
from orchestrator.report.folder import Pages, SiteFolder
from orchestrator.report.logs import failure_of, pages_of
from orchestrator.report.model import Try, page_name
from orchestrator.report.pages import render
from tasks.ledger.builds import Ledger
from tasks.ledger.bulk import NO_HISTORY, Bulk, History
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.settings import Settings

WITH_LOG = (BuildState.FAILED, BuildState.CANCELLED)
"""The builds whose logs become pages; of others the log lies in the store."""

OF_CAUSE_MAX = 200
"""The builds that the page of a cause shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPages:
    site: SiteFolder
    known: KnownBuilds
    ledger: Ledger
    settings: Settings

    def write(self) -> None:
        """Make the pages that were marked."""
        for groups in self.site.outdated("build/"):
            self._put_builds(groups)
        self.site.write()  # pages lead only to pages that are there
        for groups in self.site.outdated("causes/"):
            self._put_causes(groups)
        self.site.write()

    def _put_builds(self, groups: list[str]) -> None:
        tries = self.known.of_groups(groups)
        bulk = Bulk(self.ledger.connection)
        records = bulk.records([one.id for one in tries])
        histories = bulk.histories(records.values())
        for one in tries:
            if record := records.get(one.id):  # else it was forgotten meanwhile
                history = histories.get(one.id, NO_HISTORY)
                make = partial(self._build_pages, one, record, history)
                self.site.put(build_group(one.id), one.digest, make)

    def _build_pages(self, one: Try, record: Record, history: History) -> Pages:
        name, has_log = page_name(one.id), one.state in WITH_LOG
        log = log_of(record, self.ledger.connection, self.settings) if has_log else Log()
        cause = record.cause if one.fingerprint else None
        failure = failure_of(cause, log)
        times = possible_times(history)
        ended = one.ended or max((max(pair) for pair in times), default=0.0)
        common: Mapping[str, object] = {
            "root": "../", "builds": self.known, "one": one, "record": record, "name": name,
            "failure": failure,
        }  # fmt: skip
        page = render(
            "build.html.j2",
            times=times,
            spans=spans(times, ended),
            attempts=history.attempts,
            tests=tests_of(record, self.settings),
            has_log=bool(log.lines),
            **common,
        )
        marked = cause.line if cause and log.is_counted else 0
        pages = pages_of(log, marked) if log.lines else ()
        logs = {
            f"log/{name}{page.suffix}.html": render("log.html.j2", page=page, **common)
            for page in pages
        }
        return {f"build/{name}.html": page, **logs}

    def _put_causes(self, groups: list[str]) -> None:
        causes = {group: self.known.of_cause(group.removeprefix("causes/"), 1) for group in groups}
        newest = {group: tries[0] for group, tries in causes.items() if tries}
        records = Bulk(self.ledger.connection).records([one.id for one in newest.values()])
        for group, one in newest.items():
            make = partial(self._cause_page, group, one, records.get(one.id))
            self.site.put(group, one.digest, make)

    def _cause_page(self, group: str, one: Try, record: Record | None) -> Pages:
        """The cause, as the newest build that failed for it has it, and the builds that did."""
        cause = record.cause if record else None
        name = group.removeprefix("causes/")
        count = self.known.count_of_cause(name)
        tries = self.known.of_cause(name, OF_CAUSE_MAX)
        page = render(
            "cause.html.j2",
            root="../",
            builds=self.known,
            one=one,
            cause=cause,
            failure=failure_of(cause, Log()),
            tries=tries,
            stages=sorted({stage for each in tries for stage in each.stages}),
            count=count,
        )
        return {f"{group}.html": page}
