"""The published form of what a machine reads: JSON Schema (draft 2020-12) of report.json and cohort.json.

It is made from the same dataclasses as the files, so that neither can leave the other, and lies beside them.
"""

from __future__ import annotations

import json
from dataclasses import field, make_dataclass
from typing import Any

from pydantic import TypeAdapter

from siamese_med.reporting.data.cohort_index import CohortIndex
from siamese_med.reporting.data.report_content import PatientReport, ReportPair
from siamese_med.reporting.write import json_tsv

SCHEMA_TYPES = {"report": PatientReport, "cohort": CohortIndex}
"""Names of the files, and what they hold."""
INNER = ("PairScore", "ReferencePairs")
"""Classes that report.json shows no object of."""
JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

PUBLISHED_NAMES = {
    "ReportScan": "Scan",
    "ReportVisit": "Visit",
    "NoVerdictReason": "Reason",
    "ReportComponent": "Component",
    "ReportPair": "Pair",
    "EvidenceStatement": "Weight",
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
"""What the published schema calls a class that the code calls otherwise; changed together with the format alone."""


def build_json_schema(kind: str) -> dict[str, Any]:
    """The schema of one of SCHEMA_TYPES; every key that is not in it is an error."""
    made = _with_published_names(TypeAdapter(SCHEMA_TYPES[kind]).json_schema(mode="serialization"))
    definitions: dict[str, Any] = made.pop("$defs", {})
    if "Pair" in definitions:  # there the score's columns stand beside the others
        written = _pair()
        definitions = {**definitions, **written.pop("$defs"), "Pair": written}
        for inner in INNER:
            definitions.pop(inner)
    definitions.pop("Panels", None)
    if "Slice" in definitions:  # pictures stay out of the JSON, see `outputs.report`
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


def _with_published_names(schema: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(schema)
    for name, published in PUBLISHED_NAMES.items():
        text = text.replace(f'"{name}"', f'"{published}"').replace(f'"#/$defs/{name}"', f'"#/$defs/{published}"')
    renamed: dict[str, Any] = json.loads(text)
    if "$defs" in renamed:
        renamed["$defs"] = dict(sorted(renamed["$defs"].items()))
    return renamed


def _pair() -> dict[str, Any]:
    """The schema of a pair in report.json, with its definitions."""
    members: list[Any] = [
        (name, one.type) if one.default is None else (name, one.type, field(default=one.default))
        for name, one in json_tsv.pair_fields().items()
    ]
    written = make_dataclass("Pair", members, namespace={"__doc__": ReportPair.__doc__}, kw_only=True)
    return TypeAdapter(written).json_schema(mode="serialization")
