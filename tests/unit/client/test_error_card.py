"""What a notebook shows of an error: a short card, the next step, no secret; the whole traceback when it is wanted."""

from __future__ import annotations

import re

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mp_kit import errors
from mp_kit.error_card import text_card
from mp_kit.errors import AuthError, InvalidInputError, MarketplaceError, NetworkError

SECRETS = (
    "vk_abcdef1234567890 sit_abcdef1234567890 Bearer abcdef123456 https://me:hunter22@host/x?X-Amz-Signature=abcdef12"
)


def raised(error: MarketplaceError) -> MarketplaceError:
    """The error with a traceback."""
    with pytest.raises(MarketplaceError) as caught:
        raise error
    return caught.value


def plain(lines: list[str]) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "BY_CODE"])
def test_every_error_has_a_card(name: str):
    """At most eight lines: class, code, sentence, next step."""
    error = raised(getattr(errors, name)("It went wrong.", hint="Do it again."))
    card = error._render_traceback_()
    assert len(card) <= 8
    assert f"{name} ({error.code})\nIt went wrong.\nNext step: Do it again." in plain(card)


def test_card_tells_findings_and_whom_to_ask():
    """The first five findings, then how many more; seconds and the request."""
    details = [{"loc": [row, "confidence"], "msg": "too large"} for row in range(9)]
    error = InvalidInputError("9 rows are wrong.", details=details, retry_after=3, request_id="req1")
    said = text_card(error, colours=False)
    assert "  - 0.confidence: too large" in said
    assert ["  - and 4 more in .details", "Try again after 3 s.", "Request req1"] == said[-3:]


@pytest.mark.parametrize("shown", ["text", "again", "html", "full"])
def test_no_way_of_showing_tells_a_secret(shown: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever a server put into its sentence."""
    monkeypatch.setattr(errors, "full_tracebacks", shown == "full")
    error = raised(AuthError(f"Refused {SECRETS}.", hint=SECRETS, request_id=SECRETS))
    said = "\n".join(error._render_traceback_())
    said = "\n".join(error._render_traceback_()) if shown == "again" else said
    said = error._repr_html_() if shown == "html" else said
    for secret in ("abcdef1234567890", "hunter22", "Signature=abcdef12", "abcdef123456"):
        assert secret not in said
    assert "vk_***" in said


def test_second_showing_is_the_whole_traceback():
    """`%tb` shows the same exception again; one that is raised again is new."""
    error = raised(NetworkError("No answer."))
    assert "Traceback" not in plain(error._render_traceback_())
    assert "Traceback" in plain(error._render_traceback_())
    assert "Traceback" not in plain(raised(error)._render_traceback_())


def test_setting_shows_whole_tracebacks(monkeypatch: pytest.MonkeyPatch):
    """For those who want them always."""
    monkeypatch.setattr(errors, "full_tracebacks", True)
    assert "Traceback" in plain(raised(NetworkError("No answer."))._render_traceback_())


def test_html_card_escapes():
    """A server's sentence is text."""
    shown = InvalidInputError("<script>", hint="<b>", details=[{"loc": ["<i>"], "msg": "x"}] * 2)._repr_html_()
    assert 3 <= shown.count("&lt;")
    assert "<script" not in shown


def test_ipython_prints_the_card(capsys: pytest.CaptureFixture[str]):
    """In a terminal's IPython as in a notebook."""
    shell = InteractiveShell.instance()
    shell.run_cell("from mp_kit.errors import NotFoundError\nraise NotFoundError('No round x.')")
    InteractiveShell.clear_instance()
    said = plain([capsys.readouterr().out])
    assert "NotFoundError (not_found)\nNo round x.\nLine 2" in said
    assert "Traceback" not in said
