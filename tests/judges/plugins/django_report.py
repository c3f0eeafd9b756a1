"""A test runner for Django that writes down which tests failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import TestResult

from django.test.runner import DiscoverRunner


class ReportingRunner(DiscoverRunner):  # type: ignore[misc]  # Django is not typed
    """Writes ``{"passed": count, "failed": {id: error}}`` into the file JUDGES_REPORT."""

    def suite_result(self, suite: object, result: TestResult, **kwargs: Any) -> int:
        failed = {
            test.id(): error.strip().rpartition("\n")[2]
            for test, error in [*result.failures, *result.errors]
        }
        failed |= {test.id(): "passed unexpectedly" for test in result.unexpectedSuccesses}
        not_run = len(result.skipped) + len(result.expectedFailures)
        report = {"passed": result.testsRun - not_run - len(failed), "failed": failed}
        Path(os.environ["JUDGES_REPORT"]).write_text(json.dumps(report), "utf-8")
        failures: int = super().suite_result(suite, result, **kwargs)
        return failures
