"""Whether a name says that a contrast agent was given, in the languages of hospitals, and of what it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamese_med.ingestion import contrast
from siamese_med.ingestion.contrast_finding import NO_CONTRAST, find_nifti_contrast
from siamese_med.ingestion.inputs.sources import make_plain_input_path
from siamese_med.ingestion.series_contrast import classify_series_contrast
from siamese_med.pairing.pair_table import build_same_patient_pairs
from siamese_med.study.vocabulary import PairKind, ScanFlag
from tests.ingestion import exports
from tests.ingestion.conftest import Place

SPIN_ECHO = (500.0, 10.0, None)

PLAIN = """
    AX T1 WITHOUT IV CONTRAST|T1 W/O IV CONTRAST|T1 no IV contrast|T1 w/out contrast|T1 prior to contrast
    T1 not enhanced|T1 HIGH CONTRAST|T1 CONTRAST OPTIMIZED|T1 enhanced fast gradient
    T1 pre injection|T1 sans injection|T1 SANS INJ
    T1 avant inj|T1 non injecté|T1 KM-frei|T1 (KM nicht)|T1 IV KM nein|T1 vor KM Gabe|t1_mprage_preGd|T1 GD neg|T1 GD-
    T1 blanko|T1 antes del contraste|T1 s/ contraste|T1 prima del mdc|T1 voor contrast|t1 przed kontrastem
    T1 kontrastsız|T1 kontrast öncesi|T1 før kontrast|T1 uten kontrast|T1 hoher Kontrast
    T1 C SPINE|T1 cor|T1 CCC|T1 SINC|T1 injury protocol|T1 post trauma|POST TPA T1|T1 pos-op|T1 PÓS OPERATÓRIO
    T1 PosDisp|T1 POSITION|T1 con fat sat|alternative T1|T1+T2|T1 SENSE+
"""
ENHANCED = """
    T1 WITH IV CONTRAST|AX T1 W/C|AX T1 W/ C|AX T1 W CON|T1 w contrast|AX T1 FS PC|T1 POS|T1 PÓS|T1 C/C|T1 CIV|T1 FS+G
    T1 IVKM|t1_mprage_sag_p2_iso_nachKM|T1 nach i.v. KM|T1 mit Kontrastmittel|T1 apres injection|T1 injecté
    T1 con contraste|T1 com contraste|T1 c/ contraste|T1 dopo contrasto|T1 met contrast|T1 po kontrascie
    T1 z kontrastem|T1 kontrastlı|T1 kontrast sonrası|T1 med kontrast|T1_C|CT1|T1 no FS POST GD|T1 post op +C|T1 Gd+
"""
BOTH = """
    T1 vor und nach KM|T1 pre/post|T1 W/WO|T1 +/- C|T1 sans et avec contraste|T1 con y sin contraste
    T1 s/ e c/ contraste|T1 senza e con mdc|T1 zonder en met contrast|T1 bez i z kontrastem|T1 nativ + KM
"""


def _split(names: str) -> list[str]:
    return [name.strip() for line in names.strip().splitlines() for name in line.split("|")]


@pytest.mark.parametrize(("names", "expected"), [(PLAIN, "T1w"), (ENHANCED, "T1wCE"), (BOTH, "unknown")])
def test_descriptions_without_a_field_for_the_agent(names: str, expected: str) -> None:
    found = {name: classify_series_contrast("MR", name, SPIN_ECHO, "SE") for name in _split(names)}
    assert {name: word for name, word in found.items() if word != expected} == {}


@pytest.mark.parametrize("name", ["T1 no FS", "T1 without fat sat", "T1 PRE-OP", "T1 vor und nach KM"])
def test_the_field_for_the_agent_counts_where_the_name_lacks_something_else(name: str) -> None:
    assert classify_series_contrast("MR", name, SPIN_ECHO, "SE", agent="Gadavist") == "T1wCE"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T1_sans_inj", "T1w"), ("T1_C", "T1wCE"), ("T1_PC", "T1w"), ("T1_nachKM", "T1wCE"),
        ("T1_pre_and_post", "unknown"),
        ("sub-01_ce-iodine_ct", "CTCE"), ("sub-01_ce-none_ct", "CT"),
        ("sub-01_inv-01_MP2RAGE", "inv1"), ("sub-01_inv-02_MP2RAGE", "inv2"),
    ],
)  # fmt: skip
def test_names_of_files(name: str, expected: str) -> None:
    assert contrast.guess_contrast_from_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PD_001", "unknown"), ("PD-patient_01_anat", "unknown"), ("sub-PD_01_ses-1_brain", "unknown"),
        ("sub-Swan_brain", "unknown"), ("Swan_T1", "T1w"), ("GD_12_T1", "T1w"), ("brain_PD", "PDw"), ("SWAN_01", "SWI"),
        ("IXI002-Guys-0828-PD", "PDw"), ("sub-01-FLAIR", "FLAIR"), ("CE_T1", "T1wCE"),
    ],
)  # fmt: skip
def test_a_patient_or_group_is_no_contrast(name: str, expected: str) -> None:
    assert contrast.guess_contrast_from_name(name) == expected


def test_a_group_in_a_folder_is_no_contrast() -> None:
    assert contrast.guess_contrast_from_folders(["study", "PD", "003"]) == "unknown"
    assert contrast.guess_contrast_from_folders(["study", "PD_TSE"]) == "PDw"


def test_ct1_is_enhanced_t1_beside_t1_and_else_may_be_a_first_ct(tmp_path: Path) -> None:
    path = tmp_path / "CT1.nii.gz"
    assert find_nifti_contrast(path, "CT1", NO_CONTRAST, agent=False) == NO_CONTRAST
    (tmp_path / "T1.nii.gz").touch()
    assert find_nifti_contrast(path, "CT1", NO_CONTRAST, agent=False).contrast == "T1wCE"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("CT Head without contrast", "CT"), ("CT Head with contrast", "CTCE"), ("Head native 5.0", "CT"),
        ("CTA Head 0.75", "CTCE"), ("Crane avec injection", "CTCE"), ("Head post op", "CT"), ("CT C-SPINE W/O", "CT"),
        ("Perfusion CBF", "CBF"), ("Perfusion Tmax", "other"), ("DE Iodine Map", "other"), ("DE VNC", "other"),
        ("Head with iodine contrast", "CTCE"), ("Neck soft tissue", "CT"),
    ],
)  # fmt: skip
def test_computed_tomography_tells_by_its_description(description: str, expected: str) -> None:
    assert classify_series_contrast("CT", description, (None, None, None)) == expected


@pytest.mark.parametrize(
    "description",
    [
        "gre_field_mapping", "tfl_b1map", "B0 map", "Ktrans", "t1_twist_Ktrans", "MTsat", "R1 map", "SyMRI R1",
        "t1_vibe_dixon_tra_FatFrac", "HEAD_MRAC_PET_UMAP", "4D flow", "QFLOW", "CEST", "APTw", "T1 rho", "T1_MOLLI",
        "DTI MD", "ColFA", "T2 mapping",
    ],
)  # fmt: skip
def test_field_maps_and_maps_of_a_quantity_are_no_weighting(description: str) -> None:
    assert classify_series_contrast("MR", description, (5.0, 2.0, None), "GR") == "other"


@pytest.mark.parametrize(
    "suffix", ["R1map", "TB1TFL", "flip-1_VFA", "magnitude1", "acq-T1w_TB1TFL", "mt-on_MTS", "MTsat"]
)
def test_suffixes_of_maps_are_no_weighting(suffix: str) -> None:
    assert contrast.guess_contrast_from_name(f"sub-01_{suffix}") == "other"


@pytest.mark.parametrize("description", ["T1 MPRAGE R1", "AX T1 FS", "FLAIR", "T1 FLOW COMP", "3D T1 M0"])
def test_words_that_only_look_like_maps(description: str) -> None:
    assert classify_series_contrast("MR", description, SPIN_ECHO, "SE") != "other"


def test_a_flair_after_the_agent_is_no_rescan_of_the_one_before(place: Place, tmp_path: Path) -> None:
    for number, name in enumerate(("T2 FLAIR", "T2 FLAIR POST GD")):
        tags = {"SeriesDescription": name, "StudyInstanceUID": "1.2.3", "AcquisitionTime": f"10{number}500"}
        exports.write(tmp_path / "in" / str(number), exports.series("P", number, **tags))
    scans = place.ingest(tmp_path / "in").scans
    assert sorted("agent_given" in flags for flags in scans["flags"]) == [False, True]
    (pair,) = build_same_patient_pairs(scans, 1)
    assert pair["kind"] == PairKind.FOLLOW_UP


def test_a_nifti_flair_may_be_called_after_the_agent(tmp_path: Path) -> None:
    names = ("sub-1_ce-gd_FLAIR", "sub-1_FLAIR", "sub-1_ce-none_FLAIR")
    claims = [make_plain_input_path(tmp_path / f"{name}.nii.gz", tmp_path).claim for name in names]
    assert [ScanFlag.AGENT_GIVEN in claim.flags for claim in claims] == [True, False, False]
