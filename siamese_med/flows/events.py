"""Emit Prefect events for urgent findings: a change beyond noise, or a scan that looks like another patient's.

Each finding is announced once, under the patient's pseudonym. What happens then (mail, chat) is up to Prefect
automations that the user sets up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from prefect.events import emit_event

from siamese_med.pipeline.stage_results import RunRequest, StageResults
from siamese_med.runtime import files

CHANGE_EVENT, WRONG_PATIENT_EVENT = "siamese-med.change", "siamese-med.wrong-patient"
"""Names of the events."""


def emit_finding_events(done: StageResults, order: RunRequest) -> int:
    """Emit one event for every finding that was not announced before.

    The list of announced findings is written after the events. A run that is killed in between emits them again under
    the same ids, of which Prefect keeps one each.

    Parameters
    ----------
    done
        Results of the stages.
    order
        Request of the run; the list is `announced.json` in its data folder.

    Returns
    -------
    int
        Number of new findings.
    """
    known = _said(memory := order.study.data / "announced.json")
    new = {str(uuid5(NAMESPACE_OID, " ".join(key))): finding for key, finding in _findings(done)}
    for identity in new.keys() - known:
        _emit(identity, *new[identity])
    if not new.keys() <= known:
        files.write_json_file(memory, sorted(known | new.keys()))
    return len(new.keys() - known)


def _findings(done: StageResults) -> Iterator[tuple[tuple[str, ...], tuple[str, str, Mapping[str, object]]]]:
    """Key of each finding, then its event: name, subject and payload."""
    for outcome in done:
        facts = outcome.facts
        if "changed" in facts:
            for pair in facts["changed"]:
                yield (CHANGE_EVENT, pair["scan_a"], pair["scan_b"]), (CHANGE_EVENT, pair["subject_a"], pair)
        if "wrong_patient" in facts:
            for scan in facts["wrong_patient"]:
                yield (
                    (WRONG_PATIENT_EVENT, scan["scan"], scan["owner"] or ""),
                    (WRONG_PATIENT_EVENT, scan["subject"], scan),
                )


def _emit(identity: str, event: str, subject: str, particulars: Mapping[str, object]) -> None:
    resource = {"prefect.resource.id": f"siamese-med.subject.{subject}", "prefect.resource.name": subject}
    emit_event(event, resource, payload=dict(particulars), id=UUID(identity))


def _said(memory: Path) -> set[str]:
    return set(json.loads(memory.read_text(encoding="utf-8"))) if memory.is_file() else set()
