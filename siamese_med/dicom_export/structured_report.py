"""The result of a pair as a DICOM Structured Report: Measurement Report template (DICOM PS3.16, TID 1500)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from siamese_med.dicom_export.identifiers import (
    CODING_SCHEME,
    MANUFACTURER,
    RESEARCH_USE_NOTICE,
    ExportContext,
    get_software_version,
    make_uid,
)
from siamese_med.dicom_export.segmentation import ChangeSegment
from siamese_med.study.contrasts import describe_contrast, join_words, sort_contrast_names
from siamese_med.study.thresholds import LARGEST_TESTED_ML
from siamese_med.study.vocabulary import UNKNOWN, ComponentKind, PatientStatus, Verdict

if TYPE_CHECKING:
    from highdicom.sr import Comprehensive3DSR
    from pydicom import Dataset

VOLUME_CONCEPT = ("118565006", "SCT", "Volume")
NO_UNIT, MILLILITRE = ("1", "UCUM", "no units"), ("ml", "UCUM", "milliliter")
"""Codes: value, coding scheme designator, meaning."""

MEASURED_FIELDS = {
    "similarity": (("similarity", CODING_SCHEME, "Probability that both scans are of one person"), NO_UNIT),
    "distance": (("distance", CODING_SCHEME, "Distance of the embeddings of both scans"), NO_UNIT),
    "change_z": (("change_z", CODING_SCHEME, "Change in standard deviations of unchanged pairs"), NO_UNIT),
    "change_p": (("change_p", CODING_SCHEME, "p of the change among unchanged pairs"), NO_UNIT),
    "change_p_adjusted": (
        ("change_p_adj", CODING_SCHEME, "p of the change, adjusted for all pairs of this visit (Hommel)"),
        NO_UNIT,
    ),
    "volume_ml": (VOLUME_CONCEPT, MILLILITRE),
    "smallest_detectable_ml": (
        ("detectable_ml", CODING_SCHEME, "Smallest volume of change seen with 80 % power"),
        MILLILITRE,
    ),
    "growth_ml": (("growth_ml", CODING_SCHEME, "Growth of enclosed tissue where it moved most"), MILLILITRE),
}
"""Fields of a pair that become measurements, with the concept and unit of each; a field without a value is left out."""

IDENTITY_FIELDS = ("similarity", "distance")
"""Fields that are left out where identity was not judged.

The others are left out where a scan may be another patient's: they would be no change of this patient."""

REPORTED_FIELDS = (
    *MEASURED_FIELDS,
    "identity_judged",
    "status",
    "reasons",
    "interval_days",
    "earlier_contrast",
    "later_contrast",
)
"""All fields of a pair that the document depends on; another value in any of them gives another UID."""

VERDICT_MEANINGS = {
    Verdict.CHANGED: "Changed more than a rescan would",
    Verdict.UNCERTAIN: "Too uncertain to tell whether anything changed",
    Verdict.NO_CHANGE: "No change beyond a rescan",
    Verdict.NOT_COMPARABLE: "Not comparable",
    PatientStatus.WRONG_PATIENT: "A scan seems to be another patient's: check",
}
"""Code meaning of each verdict; at most 64 characters."""


_Evaluation = tuple[tuple[str, str, str], tuple[str, str, str]]
"""A name and a value, each as code, coding scheme designator and meaning."""


class _GroupContent(TypedDict):
    """Arguments that both kinds of measurement groups of highdicom take."""

    tracking_identifier: Any
    finding_type: Any
    algorithm_id: Any
    measurements: list[Any]
    qualitative_evaluations: list[Any]


def build_measurement_report(
    pair: Mapping[str, Any],
    later: Sequence[Dataset],
    earlier: Sequence[Dataset],
    seg: Dataset | None,
    segments: Sequence[ChangeSegment],
    filing: ExportContext,
) -> Comprehensive3DSR:
    """Build the structured report of one pair: measurements, verdict, reasons and a comment; and a group a finding.

    Parameters
    ----------
    pair
        The pair as in `report.json`.
    later, earlier
        Headers of both scans' images, which become evidence; `earlier` may be empty. Those of the follow-up come
        first, because highdicom files the document under the study of the first.
    seg, segments
        The Segmentation object that the measurements refer to, and its segments. Those of the pair refer to its only
        segment or, where there are findings, to the follow-up's images.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    findings = [
        (segment, (seg, number))
        for number, segment in enumerate(segments, start=1)
        if seg is not None and segment.finding is not None
    ]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(filing)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[
            _group(pair, later, None if seg is None or findings else (seg, 1), filing),
            *(_finding_group(*finding, later, filing) for finding in findings),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_comment(pair, later[0], seg))
    evidence = [*later, *([seg] if seg is not None else []), *earlier]
    said = [[pair[field] for field in REPORTED_FIELDS], [vars(segment) for segment, _ in findings]]
    says = json.dumps([*said, [str(one.SOPInstanceUID) for one in evidence]])
    return Comprehensive3DSR(
        evidence=evidence, content=content[0], is_complete=True, **filing.common("measurements", says.encode())
    )


def _observer(filing: ExportContext) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=make_uid(filing.model),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER,
        serial_number=filing.model,
    )
    return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _group(
    pair: Mapping[str, Any], later: Sequence[Dataset], segment: tuple[Dataset, int] | None, filing: ExportContext
) -> Any:
    """The measurements of the pair; `segment` is the object and the number of the segment that they refer to."""
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, SourceImageForMeasurementGroup

    words = _words(_measurements(pair), _evaluations(pair), None, filing)
    if segment is None:
        images = [SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in later]
        return MeasurementsAndQualitativeEvaluations(source_images=images, **words)
    return _of_segment(words, segment, later)


def _finding_group(
    found: ChangeSegment, segment: tuple[Dataset, int], later: Sequence[Dataset], filing: ExportContext
) -> Any:
    """Build the measurement group of one finding: what became of it, and the volume that changed."""
    from highdicom.sr import CodedConcept, Measurement

    measured = [Measurement(CodedConcept(*VOLUME_CONCEPT), float(found.volume_ml or 0.0), CodedConcept(*MILLILITRE))]
    kind = found.kind if ComponentKind.find_member(found.kind or "") else UNKNOWN
    says = [(("kind", CODING_SCHEME, "What became of the finding"), (str(kind), CODING_SCHEME, str(kind)))]
    return _of_segment(_words(measured, says, found.finding, filing), segment, later)


def _words(
    measurements: list[Any], evaluations: Sequence[_Evaluation], finding: int | None, filing: ExportContext
) -> _GroupContent:
    from highdicom.sr import AlgorithmIdentification, CodedConcept, QualitativeEvaluation, TrackingIdentifier

    return {
        "tracking_identifier": TrackingIdentifier(filing.make_tracking_uid(finding), filing.name_tracked(finding)),
        "finding_type": CodedConcept("change", CODING_SCHEME, "Change beyond what a rescan would show"),
        "algorithm_id": AlgorithmIdentification(MANUFACTURER, get_software_version(), [f"model {filing.model}"]),
        "measurements": measurements,
        "qualitative_evaluations": [
            QualitativeEvaluation(CodedConcept(*name), CodedConcept(*value)) for name, value in evaluations
        ],
    }


def _of_segment(words: _GroupContent, segment: tuple[Dataset, int], later: Sequence[Dataset]) -> Any:
    from highdicom.sr import (
        ReferencedSegment,
        SourceSeriesForSegmentation,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    seg, number = segment
    series = SourceSeriesForSegmentation(later[0].SeriesInstanceUID)
    referenced = ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=series)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=referenced, **words)


def _measurements(pair: Mapping[str, Any]) -> list[Any]:
    from highdicom.sr import CodedConcept, Measurement

    return [
        Measurement(CodedConcept(*name), float(pair[field]), CodedConcept(*unit))
        for field, (name, unit) in MEASURED_FIELDS.items()
        if pair[field] is not None and _is_published(field, pair)
    ]


def _is_published(field: str, pair: Mapping[str, Any]) -> bool:
    """Whether a measurement is one that the page of the patient states too."""
    if field in IDENTITY_FIELDS:
        return bool(pair["identity_judged"])
    return bool(pair["status"] != PatientStatus.WRONG_PATIENT)


def _evaluations(pair: Mapping[str, Any]) -> list[_Evaluation]:
    """Names and values of the evaluations: the verdict, or the doubt about the patient in its place; and reasons."""
    status = pair["status"]
    found = [(("verdict", CODING_SCHEME, "Verdict"), (status, CODING_SCHEME, VERDICT_MEANINGS[status]))]
    for reason in pair["reasons"]:
        word = reason["word"]
        found.append(
            (("reason", CODING_SCHEME, "Reason for no verdict"), (word, CODING_SCHEME, word.replace("_", " ")[:64]))
        )
    return found


def _comment(pair: Mapping[str, Any], image: Dataset, seg: Dataset | None) -> Any:
    from highdicom.sr import RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes

    sentences = [f"{RESEARCH_USE_NOTICE}.", f"{VERDICT_MEANINGS[pair['status']]}."]
    contrasts = sort_contrast_names(map(describe_contrast, (pair["earlier_contrast"], pair["later_contrast"])))
    sentences.append(f"Contrast of the scans: {join_words(contrasts)}.")
    if pair["status"] == Verdict.UNCERTAIN:
        sentences.append(f"Even a change of {LARGEST_TESTED_ML:.0f} ml might have been missed: look at the images.")
    if pair["similarity"] is None:
        sentences.append("Whether both are of one person was not measured: a scan could not be placed on the template.")
    elif not pair["identity_judged"]:
        sentences.append("Whether both are of one person was not judged by this model.")
    if pair["interval_days"] is not None:
        days = pair["interval_days"]
        sentences.append(f"The earlier scan is {days} {'day' if days == 1 else 'days'} older.")
    sentences += [f"No verdict, since {reason['meaning']}." for reason in pair["reasons"]]
    if seg is not None:  # its voxels are not those that the volume was counted on
        voxel_mm3 = float(np.prod([*map(float, image.PixelSpacing), float(image.SpacingBetweenSlices)]))
        drawn_ml = int(seg.pixel_array.sum()) * voxel_mm3 / 1000
        sentences.append(
            f"The volume is of the comparison's own grid; what is drawn on these images holds {drawn_ml:.3f} ml."
        )
    return TextContentItem(codes.DCM.Comment, " ".join(sentences), RelationshipTypeValues.CONTAINS)
