"""What somebody may want to hear of at once: a change beyond noise, a scan that looks like another patient's.

An event says so once, by the pseudonym; what a user hooks to it (mail, chat) is an automation of Prefect's.
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


def emit_finding_events(done: StageResults, order: RunRequest) -> int:
    """Emit an event for every finding that none was emitted for before; gives their number.

    The list of what was said is written after saying it: a run that is killed in between says it again under the same
    id, and Prefect keeps one event an id.
    """
    known = _said(memory := order.study.data / "announced.json")
    new = {str(uuid5(NAMESPACE_OID, " ".join(key))): finding for key, finding in _findings(done)}
    for identity in new.keys() - known:
        _emit(identity, *new[identity])
    if not new.keys() <= known:
        files.write_json_file(memory, sorted(known | new.keys()))
    return len(new.keys() - known)


def _findings(done: StageResults) -> Iterator[tuple[tuple[str, ...], tuple[str, str, Mapping[str, object]]]]:
    """What tells a finding from all others, and what is said of it: the event, the subject, the particulars."""
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
