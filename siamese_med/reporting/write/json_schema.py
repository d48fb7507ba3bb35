"""The JSON Schema (draft 2020-12) of report.json and cohort.json, which is published beside them.

It is made from the dataclasses that the files are made from, so the two always agree.
"""

from __future__ import annotations

import json
from dataclasses import field, make_dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaValue

from siamese_med.reporting.data.cohort_index import CohortIndex
from siamese_med.reporting.data.report_content import PatientReport, ReportPair
from siamese_med.reporting.write import json_tsv
from siamese_med.runtime import files

SCHEMA_TYPES = {"report": PatientReport, "cohort": CohortIndex}
"""Kinds of files, and the class that each is made from."""
INNER = ("PairScore", "ReferencePairs")
"""Classes of which report.json holds no object."""
JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""Dialect of the published schemas."""

PUBLISHED_NAMES = {
    "ReportScan": "Scan",
    "ReportVisit": "Visit",
    "NoVerdictReason": "Reason",
    "ReportComponent": "Component",
    "ReportLesion": "Lesion",
    "ReportLesionMark": "LesionMark",
    "ReportPair": "Pair",
    "EvidenceStatement": "Weight",
    "ReportText": "Text",
    "ReportFinding": "Finding",
    "ReportScanRating": "ScanRating",
    "ReaderAnswers": "Answers",
    "WrongPatientAlarm": "Alarm",
    "ReportStratum": "Stratum",
    "ReportReference": "Reference",
    "PatientHeadline": "Headline",
    "PatientReport": "Patient",
    "ModelHeadline": "Claim",
    "CohortRow": "Row",
    "CohortIndex": "Cohort",
    "FileOutcome": "Outcome",
    "FileCounts": "Intake",
}
"""Published names of classes that have another name in the code; they may change only with the format's version."""


@cache
def format_json_schema(kind: str) -> str:
    """Format the schema of report.json or cohort.json as the text of a file.

    It depends on the code alone, and takes longer than a patient's folder, so a process makes it once.

    Parameters
    ----------
    kind
        Key of SCHEMA_TYPES.

    Examples
    --------
    >>> format_json_schema("cohort").splitlines()[0]
    '{'
    """
    return files.format_json(build_json_schema(kind))


def build_json_schema(kind: str) -> JsonSchemaValue:
    """Build the schema of report.json or cohort.json.

    Every key is required, and null where there is no value; unknown keys are errors.

    Parameters
    ----------
    kind
        Key of SCHEMA_TYPES.

    References
    ----------
    JSON Schema draft 2020-12, https://json-schema.org/draft/2020-12.
    """
    made = _with_published_names(TypeAdapter(SCHEMA_TYPES[kind]).json_schema(mode="serialization"))
    definitions: JsonSchemaValue = made.pop("$defs", {})
    if "Pair" in definitions:  # the columns of the score are keys of the pair itself
        written = _with_published_names(_pair())
        definitions = dict(sorted({**definitions, **written.pop("$defs"), "Pair": written}.items()))
        for inner in INNER:
            definitions.pop(inner)
    definitions.pop("Panels", None)
    if "Slice" in definitions:  # pictures stay out of the JSON, see `json_tsv.pair_values`
        del definitions["Slice"]["properties"]["panels"]
        definitions["Slice"]["required"].remove("panels")
    head = {"format": {"const": json_tsv.REPORT_FORMAT}, "research_use_only": {"const": True}}
    made["properties"] = head | made["properties"]
    made["required"] = [*head, *made["required"]]
    for one in (made, *definitions.values()):
        one["additionalProperties"] = False
        one["required"] = list(one["properties"])  # every key is always there, null where there is no value
    return {
        "$schema": JSON_SCHEMA_DIALECT,
        "$id": f"siamese-med/{kind}-{json_tsv.REPORT_FORMAT}",
        **made,
        "$defs": definitions,
    }


def _with_published_names(schema: JsonSchemaValue) -> JsonSchemaValue:
    text = json.dumps(schema)
    for name, published in PUBLISHED_NAMES.items():
        text = text.replace(f'"{name}"', f'"{published}"').replace(f'"#/$defs/{name}"', f'"#/$defs/{published}"')
    renamed: JsonSchemaValue = json.loads(text)
    if "$defs" in renamed:
        renamed["$defs"] = dict(sorted(renamed["$defs"].items()))
    return renamed


def _pair() -> JsonSchemaValue:
    """The schema of a pair in report.json, with its definitions."""
    members: list[Any] = [
        (name, one.type) if one.default is None else (name, one.type, field(default=one.default))
        for name, one in json_tsv.pair_fields().items()
    ]
    written = make_dataclass("Pair", members, namespace={"__doc__": ReportPair.__doc__}, kw_only=True)
    return TypeAdapter(written).json_schema(mode="serialization")
