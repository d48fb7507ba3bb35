"""A patient's result as a FHIR R4 Bundle: a DiagnosticReport, and an Observation for each pair of the newest visit.

The bundle names nobody: the patient is the pseudonym, and dates are shifted as on the page. Its resources refer to one
another by UUIDs that follow from the names of scans and model, so the same report gives the same bytes.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from siamese_med.reporting.data import verdicts
from siamese_med.reporting.data.patient_verdict import ROLES_OF_NEWEST_VISIT
from siamese_med.study.vocabulary import PatientStatus, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siamese_med.reporting.data.report_content import PatientReport, ReportPair

    Resource = Mapping[str, Any]

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "siamese-med")
"""Namespace of all name-based UUIDs, the same as that of the DICOM objects."""
CODE_SYSTEM, PSEUDONYM_SYSTEM, PAIR_SYSTEM = (
    f"urn:oid:2.25.{uuid.uuid5(NAMESPACE, name).int}" for name in ("codes", "pseudonyms", "pairs")
)
"""Systems of this software's codes, of pseudonyms, and of names of pairs: OIDs made from UUIDs (root 2.25)."""
UCUM = "http://unitsofmeasure.org"
SECURITY_LABELS = (
    {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "PSEUDED",
        "display": "pseudonymized",
    },
    {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "code": "HRESCH",
        "display": "healthcare research",
    },
)
"""Labels of every resource: pseudonymised, and for research alone."""
SHIFTED_DATES = "Research use only, not for diagnosis. Dates are shifted by an offset of this patient's own."
"""Note on every observation."""

MEASURES = {
    "volume_ml": ("Volume over the threshold of the change map", "mL"),
    "smallest_detectable_ml": ("Smallest volume of change that would have been seen", "mL"),
    "change_z": ("Change in standard deviations of unchanged pairs", "1"),
    "change_p": ("p of the change among unchanged pairs", "1"),
    "change_p_adjusted": ("p of the change, corrected for all pairs that end with this visit (Hommel)", "1"),
}
"""Components of an observation: fields of `PairScore`, what they are, and their UCUM unit."""


def build_fhir_bundle(report: PatientReport) -> Resource:
    """Build the bundle of one patient, of type `collection`.

    Where a scan is under a wrong-patient alarm, its pairs have no figures: they may be those of two persons.

    Parameters
    ----------
    report
        The content of the patient's page.

    References
    ----------
    HL7 FHIR R4 (4.0.1): Bundle, DiagnosticReport, Observation. Units: UCUM.
    """
    patient = {
        "resourceType": "Patient",
        "meta": _meta(),
        "identifier": [{"system": PSEUDONYM_SYSTEM, "value": report.subject}],
    }
    pairs = [pair for pair in report.pairs if pair.role in ROLES_OF_NEWEST_VISIT]
    results = {_address(report, pair.earlier, pair.later): _observation(report, pair) for pair in pairs}
    entries = {
        _address(report, "report"): _diagnostic_report(report, list(results)),
        _patient_address(report): patient,
        **results,
    }
    return {
        "resourceType": "Bundle",
        "meta": _meta(),
        "type": "collection",
        "entry": [{"fullUrl": address, "resource": resource} for address, resource in entries.items()],
    }


def _meta() -> Resource:
    return {"security": [dict(label) for label in SECURITY_LABELS]}


def _address(report: PatientReport, *names: str) -> str:
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps([report.provenance.model, report.subject, *names]))}"


def _patient_address(report: PatientReport) -> str:
    """The same for every model."""
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps([report.subject]))}"


def _diagnostic_report(report: PatientReport, results: list[str]) -> Resource:
    newest = report.visits[-1].date if report.visits else None
    found = {
        "resourceType": "DiagnosticReport",
        "meta": _meta(),
        "status": "preliminary",  # no person has confirmed it
        "category": [_concept("RAD", "http://terminology.hl7.org/CodeSystem/v2-0074", "Radiology")],
        "code": _concept("18748-4", "http://loinc.org", "Diagnostic imaging study"),
        "subject": {"reference": _patient_address(report)},
        "conclusion": " ".join((report.text.change, report.text.amount, report.text.limits, report.text.notice)),
        "conclusionCode": [_verdict(report.headline.status)],
    }
    if newest:
        found["effectiveDateTime"] = newest
    if results:
        found["result"] = [{"reference": address} for address in results]
    return found


def _observation(report: PatientReport, pair: ReportPair) -> Resource:
    dates = {visit.session: visit.date for visit in report.visits}
    earlier, later = dates[pair.earlier_session], dates[pair.later_session]
    reasons = "; ".join(reason.meaning for reason in pair.reasons)
    found: dict[str, Any] = {
        "resourceType": "Observation",
        "meta": _meta(),
        "identifier": [{"system": PAIR_SYSTEM, "value": f"{pair.earlier}..{pair.later}"}],
        "status": "preliminary",
        "category": [
            _concept("imaging", "http://terminology.hl7.org/CodeSystem/observation-category", "Imaging"),
        ],
        "code": _concept("change", CODE_SYSTEM, "Change between two scans") | {"text": f"Change, {pair.title}"},
        "subject": {"reference": _patient_address(report)},
        "valueCodeableConcept": _verdict(pair.status),
        "note": [{"text": f"{SHIFTED_DATES}{f' Not compared: {reasons}.' if reasons else ''}"}],
        "method": {"text": f"siamese-med, model {report.provenance.model}, detector {report.reference.detector}"},
        "component": [_component(name, pair, report.reference.largest_tested_ml) for name in MEASURES],
    }
    if earlier and later:
        found["effectivePeriod"] = {"start": earlier, "end": later}
    return found


def _component(name: str, pair: ReportPair, largest_tested_ml: float) -> Resource:
    display, unit = MEASURES[name]
    found: dict[str, Any] = {"code": _concept(name, CODE_SYSTEM, display)}
    value = getattr(pair.score, name)
    if pair.status == PatientStatus.WRONG_PATIENT:
        return found | {"dataAbsentReason": _absent("unknown", "Unknown")}
    if value is not None:
        return found | {"valueQuantity": _quantity(value, unit)}
    if name == "smallest_detectable_ml" and pair.verdict != Verdict.NOT_COMPARABLE:
        return found | {"valueQuantity": {**_quantity(largest_tested_ml, unit), "comparator": ">"}}
    return found | {"dataAbsentReason": _absent("not-performed", "Not Performed")}


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, **({"unit": unit} if unit != "1" else {}), "system": UCUM, "code": unit}


def _absent(code: str, display: str) -> Resource:
    return _concept(code, "http://terminology.hl7.org/CodeSystem/data-absent-reason", display)


def _verdict(status: str) -> Resource:
    return _concept(status, CODE_SYSTEM, verdicts.STATUSES[status].label)


def _concept(code: str, system: str, display: str) -> dict[str, Any]:
    """A coded word.

    Examples
    --------
    >>> _concept("18748-4", "http://loinc.org", "Diagnostic imaging study")["coding"][0]["code"]
    '18748-4'
    """
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}
