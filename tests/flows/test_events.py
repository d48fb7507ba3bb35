"""What was found is said once, by the pseudonym, however often a run finds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siamese_med.flows import events
from siamese_med.pipeline.stage_results import RunRequest, StageResult
from siamese_med.study.tables import Study

PAIR = {"scan_a": "sub-a_ses-01", "scan_b": "sub-a_ses-02", "subject_a": "sub-a", "change_p_adjusted": 0.01}
ALARM = {"scan": "sub-b_ses-01", "subject": "sub-b", "owner": None}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """What goes to Prefect; that it gets there is shown with a real server, in test_hooks."""
    heard: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, **rest: heard.append((event, resource, rest)))
    return heard


def outcome(**facts: Any) -> tuple[StageResult, ...]:
    return (StageResult("score", facts),)


def test_a_finding_is_said_once_and_a_new_one_later(tmp_path: Path, said: list[Any]) -> None:
    order = RunRequest(Study(tmp_path, tmp_path))
    assert events.emit_finding_events(outcome(changed=[PAIR], wrong_patient=[]), order) == 1
    assert events.emit_finding_events(outcome(changed=[PAIR], wrong_patient=[]), order) == 0
    assert events.emit_finding_events(outcome(changed=[PAIR], wrong_patient=[ALARM]), order) == 1
    assert [event for event, _, _ in said] == [events.CHANGE_EVENT, events.WRONG_PATIENT_EVENT]
    assert said[0][1]["prefect.resource.id"] == "siamese-med.subject.sub-a"
    assert said[0][2]["payload"] == PAIR


def test_who_is_killed_after_saying_it_says_it_again_under_the_same_id(tmp_path: Path, said: list[Any]) -> None:
    order = RunRequest(Study(tmp_path, tmp_path))
    events.emit_finding_events(outcome(changed=[PAIR]), order)
    (tmp_path / "announced.json").unlink()
    events.emit_finding_events(outcome(changed=[PAIR]), order)
    assert said[0][2]["id"] == said[1][2]["id"]
    assert json.loads((tmp_path / "announced.json").read_text()) == [str(said[0][2]["id"])]
