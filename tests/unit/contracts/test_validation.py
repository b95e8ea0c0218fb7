"""A server's validation report."""

from __future__ import annotations

import pytest

from mp_kit.contracts import CheckStatus, Task, ValidationCheck, ValidationReport


@pytest.fixture
def report() -> ValidationReport:
    check = ValidationCheck(name="health", status=CheckStatus.PASSED, where="GET /health", what="says ok")
    return ValidationReport(
        task=Task.SIGNAL,
        server="http://server.test",
        bars="round_1",
        contracts_version="0.2.0",
        code_version="0.1.0",
        checked_at="2026-01-02T15:04:05Z",
        checks=[check],
        passed=True,
    ).sealed()


def test_digest_survives_the_wire(report: ValidationReport):
    """Whoever reads the JSON computes the same."""
    assert ValidationReport.model_validate_json(report.model_dump_json()).holds


@pytest.mark.parametrize(
    "change", [{"server": "http://other.test"}, {"passed": False}, {"digest": "0" * 64}, {"digest": None}]
)
def test_changed_report_does_not_hold(change: dict[str, object], report: ValidationReport):
    """Neither with another fact nor with another digest."""
    assert not report.model_copy(update=change).holds


def test_report_that_passes_over_a_failure_does_not_hold(report: ValidationReport):
    """Also when its digest is right."""
    bad = report.checks[0].model_copy(update={"status": CheckStatus.FAILED})
    assert not report.model_copy(update={"checks": [bad]}).sealed().holds
