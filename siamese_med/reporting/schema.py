"""The published form of what a machine reads: JSON Schema (draft 2020-12) of report.json and cohort.json.

It is made from the same dataclasses as the files, so that neither can leave the other, and lies beside them.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from siamese_med.reporting import outputs
from siamese_med.reporting.content import Patient
from siamese_med.reporting.overview import Cohort

KINDS = {"report": Patient, "cohort": Cohort}
"""Names of the files, and what they hold."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def of(kind: str) -> dict[str, Any]:
    """The schema of one of KINDS; every key that is not in it is an error."""
    made = TypeAdapter(KINDS[kind]).json_schema(mode="serialization")
    definitions: dict[str, Any] = made.pop("$defs", {})
    definitions.pop("Panels", None)
    if "Slice" in definitions:  # pictures stay out of the JSON, see `outputs.report`
        del definitions["Slice"]["properties"]["panels"]
        definitions["Slice"]["required"].remove("panels")
    head = {"format": {"const": outputs.FORMAT}, "research_use_only": {"const": True}}
    made["properties"] = head | made["properties"]
    made["required"] = [*head, *made["required"]]
    for one in (made, *definitions.values()):
        one["additionalProperties"] = False
        one["required"] = list(one["properties"])  # every key is always there, null where there is no value
    return {"$schema": DIALECT, "$id": f"siamese-med/{kind}-{outputs.FORMAT}", **made, "$defs": definitions}
