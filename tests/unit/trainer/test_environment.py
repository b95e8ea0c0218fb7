"""What a container is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mp_kit.errors import SetupError
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.spool import LogSpool

BAD = {
    "no token": ({"MP_RUN_TOKEN": ""}, "MP_RUN_TOKEN is missing"),
    "no url": ({"MP_API_URL": ""}, "MP_API_URL is missing"),
    "no spec": ({"TRAINING_SPEC": ""}, "TRAINING_SPEC is missing"),
    "token is no jwt": ({"MP_RUN_TOKEN": "geheim"}, "no run token"),
    "token is no base64": ({"MP_RUN_TOKEN": "a.é.c"}, "no run token"),
    "token without subject": ({"MP_RUN_TOKEN": "e30.e30.x"}, "no run token"),
    "spec is no json": ({"TRAINING_SPEC": "{"}, "TRAINING_SPEC is no training spec"),
    "spec of an unknown task": ({"TRAINING_SPEC": '{"round_id": "r", "task": "x"}'}, "task"),
    "unknown task": ({"TASK": "guess"}, "TASK is 'guess'"),
    "urls are no list": ({"DATASET_URLS": "7"}, "DATASET_URLS must be"),
    "url without a name": ({"DATASET_URLS": '[{"url": "x"}]'}, "DATASET_URLS must be"),
    "deadline without a zone": ({"MP_DEADLINE": "2026-01-01T00:00:00"}, "MP_DEADLINE"),
    "shift is no number": ({"MP_CLOCK_SHIFT": "years"}, "MP_CLOCK_SHIFT"),
    "shift out of the calendar": ({"MP_CLOCK_SHIFT": "1e300"}, "MP_CLOCK_SHIFT"),
}


@pytest.mark.parametrize("case", BAD)
def test_read_names_what_is_wrong(environ: dict[str, str], case: str):
    """The message names the variable and never quotes a token."""
    changes, message = BAD[case]
    with pytest.raises(SetupError) as caught:
        JobEnv.read(environ | changes)
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_read_takes_urls_in_both_forms(environ: dict[str, str]):
    """A bare URL is named by its path; a relative one is the API's."""
    entries = ["https://store.example/a/train-EUR%20USD.parquet?sig=1", {"name": "validation-X.parquet", "url": "/f/v"}]
    files = JobEnv.read(environ | {"DATASET_URLS": json.dumps(entries)}).files
    assert [(file.name, file.url) for file in files] == [
        ("train-EUR USD.parquet", "https://store.example/a/train-EUR%20USD.parquet?sig=1"),
        ("validation-X.parquet", "http://edge.example/f/v"),
    ]


def test_read_bounds_the_run_by_the_earlier_end(environ: dict[str, str], make_jwt: Callable[..., str]):
    """A deadline holds unless the token ends first."""
    early, late = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    for exp, deadline in ((early, late), (late, early)):
        token = make_jwt(sub="run_1", exp=exp.timestamp())
        env = JobEnv.read(environ | {"MP_RUN_TOKEN": token, "MP_DEADLINE": deadline.isoformat()})
        assert env.deadline == early


def test_read_puts_a_sandboxes_deadline_into_the_machines_time(environ: dict[str, str]):
    """A marketplace that lives ten days ago ends its jobs ten days later on our clock; orders likewise."""
    told = datetime(2026, 1, 1, tzinfo=UTC)
    env = JobEnv.read(environ | {"MP_DEADLINE": told.isoformat(), "MP_CLOCK_SHIFT": str(-10 * 86_400.0)})
    assert (told + timedelta(days=10), told + timedelta(days=11)) == (env.deadline, env.here(told + timedelta(days=1)))
    assert env.here(None) is None


def test_repr_shows_no_secret(environ: dict[str, str]):
    """Neither the token nor signed URLs."""
    env = JobEnv.read(environ | {"DATASET_URLS": '["https://x.example/a?sig=geheim"]', "HF_TOKEN": "hf_geheim"})
    assert env.token not in repr(env)
    assert "geheim" not in repr(env)
    assert env.secrets == (env.token, "hf_geheim")


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "RUNPOD_API_KEY", "MP_RUN_TOKEN"])
def test_keys_that_a_job_was_given_are_masked_in_its_log(
    environ: dict[str, str], make_jwt: Callable[..., str], tmp_path: Path, name: str
):
    """Whatever the training prints of them never reaches the disk."""
    key = make_jwt(sub="run_1") if name == "MP_RUN_TOKEN" else "0123456789abcdef_no_shape_of_a_key"
    spool = LogSpool(tmp_path / "logs.jsonl", JobEnv.read(environ | {name: key}).secrets)
    spool.write("stderr", f"HTTPError: 401 for {key}!")
    assert ["HTTPError: 401 for ***!"] == [line.text for line in spool.read(0)]
    spool.close()
    assert key not in (tmp_path / "logs.jsonl").read_text()
