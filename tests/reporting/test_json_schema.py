"""The schemas that lie beside the machine outputs, and whether the outputs keep to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siamese_med.reporting.write import json_schema
from tests.reporting.conftest import Inputs


def validator(written: Inputs, kind: str) -> Draft202012Validator:
    lying_there = json.loads((written.reports / f"{kind}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(lying_there)
    return Draft202012Validator(lying_there)


def test_every_report_and_the_cohort_keep_to_the_schema_beside_them(written: Inputs) -> None:
    files = {"report": sorted(written.reports.glob("sub-*/report.json")), "cohort": [written.reports / "cohort.json"]}
    for kind, paths in files.items():
        assert paths
        for path in paths:
            validator(written, kind).validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("spoiled", "where"),
    [
        ({"format": -1}, []),
        ({"research_use_only": False}, []),
        ({"name": "a key that is in no schema"}, []),
        ({"change_p": "0.02"}, ["pairs", 0]),
        ({"picture": "data:image/png"}, ["pairs", 0]),
    ],
)
def test_a_report_that_says_something_else_is_refused(
    written: Inputs, spoiled: dict[str, Any], where: list[Any]
) -> None:
    path = next(path for path in sorted(written.reports.glob("sub-*/report.json")) if '"pairs": [{' in one_line(path))
    report = json.loads(path.read_text(encoding="utf-8"))
    part = report
    for step in where:
        part = part[step]
    assert validator(written, "report").is_valid(report)
    part.update(spoiled)
    assert not validator(written, "report").is_valid(report)


def test_a_missing_key_is_refused(written: Inputs) -> None:
    cohort = json.loads((written.reports / "cohort.json").read_text(encoding="utf-8"))
    for key in cohort:
        assert not validator(written, "cohort").is_valid({name: cohort[name] for name in cohort if name != key})


def test_the_version_stands_in_the_schema_and_in_its_name() -> None:
    for kind in json_schema.SCHEMA_TYPES:
        made = json_schema.build_json_schema(kind)
        assert made["$id"].endswith(f"{kind}-{made['properties']['format']['const']}")


def test_every_column_of_the_pairs_has_a_meaning_beside_it(written: Inputs) -> None:
    meanings = json.loads((written.reports / "pairs.json").read_text(encoding="utf-8"))
    for table in written.reports.glob("sub-*/pairs.tsv"):
        assert sorted(table.read_text(encoding="utf-8").splitlines()[0].split("\t")) == sorted(meanings)
    assert all(one["Description"] for one in meanings.values())
    assert meanings["volume_ml"]["Units"] == "mL"


def one_line(path: Any) -> str:
    return json.dumps(json.loads(path.read_text(encoding="utf-8")))


def test_classes_keep_their_published_names() -> None:
    known = {"report": {"Component", "Pair", "Reason"}, "cohort": {"Claim", "Row"}}
    for kind, names in known.items():
        definitions = json_schema.build_json_schema(kind)["$defs"]
        assert names <= definitions.keys()
        assert not definitions.keys() & json_schema.PUBLISHED_NAMES.keys()
