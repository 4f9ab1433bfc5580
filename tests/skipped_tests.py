"""A pytest plugin that remembers which tests a run skipped, so that `--skipped-before` runs just these."""

from __future__ import annotations

import pytest

KEY = "mambairv2/skipped"


class SkippedTests:
    """Keeps node ids of skipped tests, and of files skipped as a whole, in pytest's cache."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.again: list[str] | None = config.cache.get(KEY, []) if config.getoption("--skipped-before") else None
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.again is None:
            return
        before = tuple(self.again)
        others = [item for item in items if not _is_or_lies_in(item.nodeid, before)]
        self.config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]

    def pytest_sessionfinish(self) -> None:
        if self.again is None and not hasattr(self.config, "workerinput"):  # of pytest-xdist, which see a part each
            self.config.cache.set(KEY, sorted(self.skipped))


def _is_or_lies_in(test: str, places: tuple[str, ...]) -> bool:
    return test in places or any(test.startswith(f"{place}::") for place in places)
