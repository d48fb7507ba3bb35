"""What tells the contrast of a scan, and which of several sources counts; how the catalogue and the page say so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from siamese_med.errors import ManifestError
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import contrast, image_contrast, single_scan
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.contrast_finding import ContrastFinding, find_dicom_contrast
from siamese_med.ingestion.dicom import planes, scan_facts
from siamese_med.ingestion.inputs import bids_metadata, entries, sources
from siamese_med.ingestion.privacy.pseudonyms import load_pseudonyms
from siamese_med.ingestion.workers import Workers
from siamese_med.pipeline.stage_facts import describe_scan
from siamese_med.scoring.change.comparability import reasons_before_measuring
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ContrastSource, NotComparable
from tests.ingestion import exports
from tests.ingestion.conftest import Place

REAL = Path(__file__).parents[3] / "shared" / "real"
EXPECTED_OF_REAL_NAMES = {
    "open_ms/*/study?_FLAIR.nii.gz": "FLAIR",
    "open_ms/*/study?_T1W.nii.gz": "T1w",
    "open_ms/*/study?_T2W.nii.gz": "T2w",
    "brain_tumor_progression/*/*/T1post.nii.gz": "T1wCE",
    "ds002748/*_T1w*.nii.gz": "T1w",
    "ds000011/*/*_T1w.nii.gz": "T1w",
    "ds000011/*/*_inplaneT2.nii.gz": "T2w",
    "ixi_2mm/*.nii.gz": "T1w",
    "hippocampus/*.nii.gz": "unknown",
    "label_maps/*.nii.gz": "unknown",
}
"""Contrast by the names of the files, as the README of the data sets says."""


def known(place: Place) -> list[tuple[str, str]]:
    """Contrast and source of all scans, by id."""
    return [(row.contrast, row.contrast_source) for row in place.scans().itertuples()]


def written(place: Place) -> dict[str, int]:
    """When each scan was written, by its path."""
    return {path.name: path.stat().st_mtime_ns for path in place.data.rglob("*.nii.gz")}


def image(path: Path, seed: int = 0, **sidecar: object) -> Path:
    """A NIfTI file, with a JSON beside it where some content is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(exports.nifti(seed).to_bytes())
    if sidecar:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def head(path: Path, seed: int = 0, **sidecar: object) -> Path:
    """A file as `image` makes it, with a field of view in which a head would fit."""
    image(path, seed, **sidecar)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    path.write_bytes(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine).to_bytes())
    return path


def manifest(folder: Path, columns: str, *rows: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join((columns, *rows)) + "\n")
    return path


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real scans at {REAL}")
@pytest.mark.parametrize("pattern", EXPECTED_OF_REAL_NAMES)
def test_names_of_real_scans(pattern: str) -> None:
    paths = sorted(REAL.glob(pattern))
    assert paths
    claims = [sources.make_plain_input_path(path, path.parent).claim for path in paths]
    assert {claim.contrast for claim in claims} == {EXPECTED_OF_REAL_NAMES[pattern]}
    assert {claim.modality for claim in claims} <= {"MR", "unknown"}


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ({"SeriesDescription": "AX T1 POST"}, "T1wCE"),
        ({"ProtocolName": "t2_tse_tra"}, "T2w"),
        ({"SeriesDescription": "sag t1", "ContrastBolusAgent": "Gadovist"}, "T1wCE"),
        ({"SeriesDescription": "sag t1", "ContrastBolusIngredient": "GADOLINIUM"}, "T1wCE"),
        ({"SeriesDescription": "sag t1", "ContrastBolusAgent": "NO"}, "T1w"),
        ({"SeriesDescription": "t1 pre", "ContrastBolusAgent": "Gadovist"}, "T1w"),
        ({"RepetitionTime": 1.9, "EchoTime": 0.003, "InversionTime": 0.9}, "T1w"),
        ({"RepetitionTime": 2.0, "EchoTime": 0.028, "ScanningSequence": ["EP", "GR"]}, "unknown"),
        ({"RepetitionTime": 0.6, "EchoTime": 0.02, "ScanningSequence": "GR"}, "T2starw"),
        ({"RepetitionTime": "long", "EchoTime": [1], "SeriesDescription": {"a": 1}}, "unknown"),
        ({"RepetitionTime": float("-inf"), "EchoTime": float("nan")}, "unknown"),
        ({"Modality": "CT", "SeriesDescription": "head t1"}, "CT"),
        ({"Contrast": "T1wCE"}, "T1wCE"),
        ({"Contrast": "<script>"}, "unknown"),
    ],
)
def test_the_json_beside_an_image(tmp_path: Path, sidecar: dict[str, object], expected: str) -> None:
    path = image(tmp_path / "scan.nii", **sidecar)
    found = bids_metadata.read_sidecar(path, "scan").contrast
    assert found.contrast == expected
    assert found.source == (ContrastSource.NONE if expected == "unknown" else ContrastSource.HEADER)


def test_the_name_counts_before_the_json_which_may_know_of_an_agent(tmp_path: Path) -> None:
    flair = image(tmp_path / "a_FLAIR.nii", SeriesDescription="ax t2")
    t1 = image(tmp_path / "b_T1w.nii", SeriesDescription="ax t2", ContrastBolusAgent="Dotarem")
    plain = image(tmp_path / "c_T1_pre.nii", ContrastBolusAgent="Dotarem")
    claims = [sources.make_plain_input_path(path, tmp_path).claim for path in (flair, t1, plain)]
    told = [(claim.contrast, str(claim.contrast_source)) for claim in claims]
    assert told == [("FLAIR", "name"), ("T1wCE", "header"), ("T1w", "name")]


def test_folders_tell_what_neither_name_nor_header_does() -> None:
    place = Path("/data/FLAIR_study/patient7/T1_post/scan.dcm")
    assert find_dicom_contrast("unknown", place) == ContrastFinding("T1wCE", ContrastSource.NAME)
    assert find_dicom_contrast("T2w", place) == ContrastFinding("T2w", ContrastSource.HEADER)
    assert find_dicom_contrast("T1w", place) == ContrastFinding("T1wCE", ContrastSource.NAME)
    assert find_dicom_contrast("T2w", place, said="FLAIR") == ContrastFinding("FLAIR", ContrastSource.SAID)
    assert find_dicom_contrast("unknown", Path("/data/PET/1.dcm")).source == ContrastSource.NONE
    assert find_dicom_contrast("unknown", Path("/data/FLAIR_study/patient7/1.dcm")).source == ContrastSource.NONE


def test_a_manifest_says_the_contrast_and_is_believed(place: Place, tmp_path: Path) -> None:
    image(tmp_path / "x.nii", 1)
    image(tmp_path / "y_T1w.nii", 2)
    image(tmp_path / "z_T2w.nii", 3)
    exports.write(tmp_path / "dicom", exports.series("P"))
    rows = ("a,1,x.nii,t1wce", "b,1,y_T1w.nii,FLAIR", "c,1,z_T2w.nii,", "d,1,dicom,T2w")
    place.ingest(manifest(tmp_path, "subject,session,path,contrast", *rows))
    assert sorted(known(place)) == [("FLAIR", "said"), ("T1wCE", "said"), ("T2w", "name"), ("T2w", "said")]
    assert set(place.scans()["modality"]) == {"MR"}
    enhanced = place.scans().query("contrast == 'T1wCE'").iloc[0]
    assert enhanced["id"].endswith("_ses-01_ce-agent_T1w")


def test_another_word_in_a_manifest_makes_the_scan_anew(place: Place, tmp_path: Path) -> None:
    image(tmp_path / "x_T1w.nii")
    columns = "subject,session,path,contrast"
    for said, expected in (("", ("T1w", "name")), ("T1w", ("T1w", "said")), ("T1wCE", ("T1wCE", "said"))):
        before = written(place)
        place.ingest(manifest(tmp_path, columns, f"a,1,x_T1w.nii,{said}"))
        assert known(place) == [expected]
        assert before.keys() != (made := written(place)).keys()
        place.ingest(manifest(tmp_path, columns, f"a,1,x_T1w.nii,{said}"))
        assert written(place) == made


def test_a_wrong_word_in_a_manifest_is_refused_in_one_line(place: Place, tmp_path: Path) -> None:
    image(tmp_path / "x.nii")
    with pytest.raises(ManifestError) as refused:
        place.ingest(manifest(tmp_path, "subject,session,path,contrast", "a,1,x.nii,Doe^Jane"))
    message = str(refused.value)
    assert "row 2" in message
    assert all(word in message for word in contrast.CONTRASTS)
    assert "Doe" not in message
    assert "\n" not in message


def test_claims_of_earlier_versions_keep_their_keys(place: Place, tmp_path: Path) -> None:
    """The key as it was before a claim knew its source, so that a study is not ingested anew."""
    claim = sources.make_plain_input_path(image(tmp_path / "sub-1_T1w.nii"), tmp_path).claim
    secret = load_pseudonyms(place.secret)
    before = ("bids", "1", "", None, None, "T1w", "MR", (), (), (), None)
    assert claim.contrast_source == ContrastSource.NAME
    assert entries.compute_claim_key(claim, secret) == secret.label("claim", *before)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"SeriesDescription": "Post AX T1"}, "T1wCE"),
        ({"SeriesDescription": "ax t1", "ContrastBolusAgent": "Magnevist 10ml"}, "T1wCE"),
        ({"SeriesDescription": "ax t1", "ContrastBolusIngredient": "GADOLINIUM"}, "T1wCE"),
        ({"SeriesDescription": "ax t1", "ContrastBolusVolume": "7.5"}, "T1wCE"),
        ({"SeriesDescription": "ax t1", "ContrastBolusAgent": "None"}, "T1w"),
        ({"SeriesDescription": "ax t1 w/o", "ContrastBolusAgent": "Magnevist"}, "T1w"),
        ({"SeriesDescription": "flair", "ContrastBolusAgent": "Magnevist"}, "FLAIR"),
        ({"SeriesDescription": "3D T1 post-op"}, "T1w"),
        ({"SeriesDescription": "AX T1 FLAIR"}, "T1w"),
        ({"SeriesDescription": "AX FLAIR T1 +C"}, "T1wCE"),
        ({"SeriesDescription": "AX T2 FLAIR"}, "FLAIR"),
        ({"SeriesDescription": "t1_mp2rage_sag_INV1"}, "inv1"),
        ({"SeriesDescription": "t1_mp2rage_sag_UNI_Images"}, "T1w"),
    ],
)
def test_dicom_headers_tell_of_an_agent(tags: dict[str, str], expected: str) -> None:
    header = exports.series(**tags)[0]
    assert scan_facts.read_scan_facts(header, "MR", planes.read_planes(header, "")[0]).contrast == expected


@pytest.mark.usefixtures("in_this_process")
def test_one_scan_is_read_as_ingest_reads_it(place: Place, tmp_path: Path) -> None:
    machine = {"Manufacturer": "ACME", "DeviceSerialNumber": "A17"}
    exports.write(tmp_path / "a" / "T1", exports.series("P1", SeriesDescription="", **machine))
    exports.write(tmp_path / "b", exports.series("P2", seed=2, SeriesDescription="t1 gd", **machine))
    image(tmp_path / "c" / "T1c.nii", 3, Manufacturer="ACME", Modality="MR")
    image(tmp_path / "d" / "scan.nii", 4, Manufacturer="ACME", SeriesDescription="t2 flair")
    image(tmp_path / "e" / "scan.nii", 5)
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c" / "T1c.nii", tmp_path / "d" / "scan.nii"]
    paths.append(tmp_path / "e" / "scan.nii")
    place.ingest(tmp_path)
    stored = {row.sha256: row for row in place.scans().itertuples()}
    alone = [single_scan.read_single_scan(path, IngestConfig()) for path in paths]
    rows = [stored[scan.volume.content_digest()] for scan in alone]
    for scan, row in zip(alone, rows, strict=True):
        assert (scan.modality, scan.contrast, scan.contrast_source) == (row.modality, row.contrast, row.contrast_source)
        assert (scan.scanner == "unknown") == (row.scanner == "unknown")
    same = {(i, j) for i in range(5) for j in range(5) if alone[i].scanner == alone[j].scanner}
    assert same == {(i, j) for i in range(5) for j in range(5) if rows[i].scanner == rows[j].scanner}
    assert not any("ACME" in scan.scanner for scan in alone)
    ingested = single_scan.read_single_scan(place.data / rows[1].path, IngestConfig())
    assert (ingested.modality, ingested.contrast) == (rows[1].modality, "T1wCE")


def test_enhanced_and_plain_are_different_contrasts() -> None:
    plain, enhanced = (SimpleNamespace(modality="MR", contrast=word, aligned=True) for word in ("T1w", "T1wCE"))
    assert reasons_before_measuring(plain, enhanced) == (NotComparable.OTHER_CONTRAST,)


def test_an_enhanced_scan_is_read_again_from_its_bids_name(
    place: Place, new_place: Callable[[], Place], tmp_path: Path
) -> None:
    image(tmp_path / "sub-1_ses-1_ce-gadolinium_T1w.nii", 1)
    image(tmp_path / "sub-1_ses-1_ce-gadolinium_run-2_T1w.nii", 2)
    image(tmp_path / "sub-1_ses-1_T1w.nii", 3)
    place.ingest(tmp_path)
    names = [scan.split("_", 1)[1] for scan in place.scans()["id"]]
    assert names == ["ses-01_T1w", "ses-01_ce-agent_T1w", "ses-01_ce-agent_run-2_T1w"]
    again = new_place()
    again.ingest(place.data / "scans")
    assert sorted(known(again)) == [("T1w", "name"), ("T1wCE", "name"), ("T1wCE", "name")]


def test_a_mask_by_any_name_is_no_scan(place: Place, tmp_path: Path) -> None:
    marked = exports.nifti()
    voxels = (np.asarray(marked.dataobj) > 450).astype(np.int16)
    (tmp_path / "tumour.nii").write_bytes(nib.Nifti1Image(voxels, marked.affine).to_bytes())
    image(tmp_path / "brainmask.nii", 1)
    image(tmp_path / "T1.nii", 2)
    assert place.ingest(tmp_path).account.reasons == {"non_image": 2}


# The image itself


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of workers run here, where a test can replace the reader of the image."""

    def each(
        _: Workers, function: Callable[[Any], Any], tasks: Iterable[Any], **__: object
    ) -> Iterator[tuple[int, Any]]:
        return ((index, function(task)) for index, task in enumerate(tasks))

    monkeypatch.setattr(Workers, "each", each)


def reads(monkeypatch: pytest.MonkeyPatch, word: str, confidence: float) -> list[Volume]:
    """Let a reader tell this of every image; returns the list of images that it is shown."""
    shown: list[Volume] = []

    def reader(scan: Volume) -> tuple[str, float]:
        shown.append(scan)
        return word, confidence

    monkeypatch.setattr(image_contrast, "find_contrast_reader", lambda: reader)
    return shown


@pytest.mark.usefixtures("in_this_process")
def test_the_image_tells_what_nothing_else_does(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = reads(monkeypatch, "T1wCE", 0.97)
    head(tmp_path / "sub-1" / "scan.nii", 1)
    head(tmp_path / "sub-2" / "sub-2_T2w.nii", 2)
    head(tmp_path / "sub-3" / "ct.nii", 3, Modality="CT")
    image(tmp_path / "sub-4" / "crop.nii", 4)
    ingested = place.ingest(tmp_path)
    assert len(shown) == 1
    rows = {row["contrast"]: row for row in ingested.scan_rows}
    assert rows.keys() == {"T1wCE", "T2w", "CT", "unknown"}
    told = describe_scan(rows["T1wCE"])
    assert (told["modality"], told["contrast_source"], told["contrast_confidence"]) == ("MR", "image", 0.97)
    assert told["id"].endswith("_scan")  # given before the image is read
    assert {rows[word]["contrast_confidence"] for word in ("T2w", "CT")} == {None}
    beside = json.loads((place.data / told["path"].replace(".nii.gz", ".json")).read_text())
    assert (beside["Contrast"], beside["ContrastConfidence"]) == ("T1wCE", 0.97)
    alone = single_scan.read_single_scan(tmp_path / "sub-1" / "scan.nii", IngestConfig())
    assert (alone.modality, alone.contrast, alone.contrast_confidence) == ("MR", "T1wCE", 0.97)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(("word", "confidence"), [("T1w", 0.6), ("unknown", 1.0), ("a T1 of Jane", 1.0)])
def test_an_unsure_image_tells_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, confidence: float
) -> None:
    reads(monkeypatch, word, confidence)
    head(tmp_path / "scan.nii")
    place.ingest(tmp_path)
    assert known(place) == [("unknown", "none")]
    assert place.scans()["contrast_confidence"].isna().all()


@pytest.mark.usefixtures("in_this_process")
def test_a_scan_outlives_a_reader_that_fails(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Volume) -> tuple[str, float]:
        raise RuntimeError

    monkeypatch.setattr(image_contrast, "find_contrast_reader", lambda: fails)
    head(tmp_path / "scan.nii")
    assert place.ingest(tmp_path).account.ingested == 1


@pytest.mark.usefixtures("in_this_process")
def test_a_manifest_may_say_that_the_contrast_is_not_known(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = reads(monkeypatch, "T1w", 1.0)
    head(tmp_path / "x_T1w.nii")
    place.ingest(manifest(tmp_path, "subject,session,path,contrast", "a,1,x_T1w.nii,unknown"))
    assert known(place) == [("unknown", "said")]
    assert not shown


def test_computed_tomography_of_unknown_modality_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    voxels = rng.normal(40, 10, (20, 20, 20))
    voxels[:5] = -1000
    tomography, resonance = (Volume(v.astype(np.float32), np.diag([8, 8, 8, 1])) for v in (voxels, voxels.clip(0)))
    told = [
        image_contrast.read_contrast_of_image(v, "unknown", lambda _: ("T2w", 0.99)) for v in (tomography, resonance)
    ]
    assert [one.contrast for one in told] == ["unknown", "T2w"]


# Catalogues of earlier versions


def without_columns(place: Place) -> None:
    """Make the catalogue one of an earlier version."""
    with sqlite3.connect(place.data / "catalogue.sqlite") as connection:
        for name in ("contrast_source", "contrast_confidence"):
            connection.execute(f"ALTER TABLE scan DROP COLUMN {name}")
    connection.close()


def test_an_older_catalogue_is_read_and_gets_the_columns(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "dicom", exports.series("P"))
    image(tmp_path / "x_FLAIR.nii", 1)
    image(tmp_path / "y_CT.nii", 2)
    place.ingest(tmp_path)
    before, digest = place.scans(), catalogue.digest_scans(place.url)
    made = written(place)
    without_columns(place)
    assert place.scans().equals(before)
    assert catalogue.digest_scans(place.url) != digest
    place.ingest(tmp_path)
    assert written(place) == made
    assert place.scans().equals(before)
    with sqlite3.connect(place.data / "catalogue.sqlite") as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(scan)")]
    connection.close()
    assert {"contrast_source", "contrast_confidence"} <= set(columns)
