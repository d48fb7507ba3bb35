"""What the report says of a pair in numbers and words, as a structured report by template (DICOM PS3.16, TID 1500)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.dicom_export.identifiers import (
    CODING_SCHEME,
    MANUFACTURER,
    RESEARCH_USE_NOTICE,
    ExportContext,
    get_software_version,
    make_uid,
)
from siamese_med.study.vocabulary import PatientStatus, Verdict

if TYPE_CHECKING:
    from highdicom.sr import Comprehensive3DSR
    from pydicom import Dataset

VOLUME_CONCEPT = ("118565006", "SCT", "Volume")
NO_UNIT, MILLILITRE = ("1", "UCUM", "no units"), ("ml", "UCUM", "milliliter")

MEASURED_FIELDS = {
    "similarity": (("similarity", CODING_SCHEME, "Probability that both scans are of one person"), NO_UNIT),
    "distance": (("distance", CODING_SCHEME, "Distance of the embeddings of both scans"), NO_UNIT),
    "change_z": (("change_z", CODING_SCHEME, "Change in standard deviations of unchanged pairs"), NO_UNIT),
    "change_p": (("change_p", CODING_SCHEME, "p of the change among unchanged pairs"), NO_UNIT),
    "change_p_adjusted": (("change_p_adj", CODING_SCHEME, "p of the change, adjusted for all looks (Holm)"), NO_UNIT),
    "volume_ml": (VOLUME_CONCEPT, MILLILITRE),
    "smallest_detectable_ml": (
        ("detectable_ml", CODING_SCHEME, "Smallest volume of change seen with 80 % power"),
        MILLILITRE,
    ),
    "growth_ml": (("growth_ml", CODING_SCHEME, "Growth of enclosed tissue where it moved most"), MILLILITRE),
}
"""Fields of a pair, and the concept and unit of each; a field without a value is left out."""

REPORTED_FIELDS = (*MEASURED_FIELDS, "status", "reasons", "interval_days")
"""All that is taken of a pair."""

VERDICT_MEANINGS = {
    Verdict.CHANGED: "Changed more than a rescan would",
    Verdict.NO_CHANGE: "No change beyond a rescan",
    Verdict.NOT_COMPARABLE: "Not comparable",
    PatientStatus.WRONG_PATIENT: "A scan seems to be another patient's: check",
}


def build_measurement_report(
    pair: Mapping[str, Any],
    later: Sequence[Dataset],
    earlier: Sequence[Dataset],
    seg: Dataset | None,
    filing: ExportContext,
) -> Comprehensive3DSR:
    """The measurements of one pair; on the segment of `seg` where there is one. `earlier` may be empty.

    The follow-up's images come first among the evidence, since highdicom files the document under the first's study.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(filing)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(pair, later, seg, filing)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_comment(pair, later[0], seg))
    evidence = [*later, *([seg] if seg is not None else []), *earlier]
    says = json.dumps([[pair[field] for field in REPORTED_FIELDS], [str(one.SOPInstanceUID) for one in evidence]])
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


def _group(pair: Mapping[str, Any], later: Sequence[Dataset], seg: Dataset | None, filing: ExportContext) -> Any:
    from highdicom.sr import (
        AlgorithmIdentification,
        CodedConcept,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        ReferencedSegment,
        SourceImageForMeasurementGroup,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    words: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(filing.tracking, f"{MANUFACTURER} change {filing.number}"),
        "finding_type": CodedConcept("change", CODING_SCHEME, "Change beyond what a rescan would show"),
        "algorithm_id": AlgorithmIdentification(MANUFACTURER, get_software_version(), [f"model {filing.model}"]),
        "measurements": _measurements(pair),
        "qualitative_evaluations": [
            QualitativeEvaluation(CodedConcept(*name), CodedConcept(*value)) for name, value in _evaluations(pair)
        ],
    }
    if seg is None:
        images = [SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in later]
        return MeasurementsAndQualitativeEvaluations(source_images=images, **words)
    series = SourceSeriesForSegmentation(later[0].SeriesInstanceUID)
    segment = ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, 1, source_series=series)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **words)


def _measurements(pair: Mapping[str, Any]) -> list[Any]:
    from highdicom.sr import CodedConcept, Measurement

    return [
        Measurement(CodedConcept(*name), float(pair[field]), CodedConcept(*unit))
        for field, (name, unit) in MEASURED_FIELDS.items()
        if pair[field] is not None
    ]


def _evaluations(pair: Mapping[str, Any]) -> list[tuple[tuple[str, str, str], tuple[str, str, str]]]:
    """Names and values: the verdict (or the doubt whose scan it is, which comes before it), and the reasons."""
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
    if pair["interval_days"] is not None:
        sentences.append(f"The earlier scan is {pair['interval_days']} days older.")
    sentences += [f"No verdict, since {reason['meaning']}." for reason in pair["reasons"]]
    if seg is not None:  # on other voxels than those that were counted
        voxel_mm3 = float(np.prod([*map(float, image.PixelSpacing), float(image.SpacingBetweenSlices)]))
        drawn_ml = int(seg.pixel_array.sum()) * voxel_mm3 / 1000
        sentences.append(
            f"The volume is of the comparison's own grid; the segment on these images holds {drawn_ml:.3f} ml."
        )
    return TextContentItem(codes.DCM.Comment, " ".join(sentences), RelationshipTypeValues.CONTAINS)
