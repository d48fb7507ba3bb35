"""The quick header agrees with pydicom wherever it does not decline: on whole files, and on thousands of mutants."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from benchmarks.dicom_mutants import DICOM
from benchmarks.mutants import GENERIC
from siamese_med.ingestion.dicom import fast_header, headers
from siamese_med.ingestion.dicom.elements import DICOM_ELEMENTS
from siamese_med.ingestion.dicom.fast_header import NotPlainError
from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.reasons import RejectedError
from tests.ingestion.dicom_cases import CASES
from tests.ingestion.exports import series, write

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
MAX_BYTES = 1e9
MUTANTS_OF_EACH = 3


def quick(data: bytes) -> DicomInstance | str | None:
    """What the quick header gives: an instance, a reason word, or None where it declines."""
    try:
        header = fast_header.parse_plain_header(data)
        return headers._held(header, data, header.end, headers.DicomFileBytes("", data, "", MAX_BYTES))
    except NotPlainError:
        return None
    except RejectedError as rejected:
        return rejected.reason


def thorough(data: bytes) -> DicomInstance | str:
    """What pydicom gives."""
    try:
        return headers.read_dicom_with_pydicom("", data, "", MAX_BYTES)
    except RejectedError as rejected:
        return rejected.reason


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One file of every kind that the tests know, and two of every case of the corpus where that is there."""
    folder = tmp_path_factory.mktemp("cases")
    for name, case in CASES.items():
        case.make(folder / name)
    found = [next(path for path in sorted(case.rglob("*")) if path.is_file()) for case in sorted(folder.iterdir())]
    for case in sorted(CORPUS.iterdir()) if CORPUS.is_dir() else []:
        found += [path for path in sorted(case.rglob("*")) if path.is_file()][:2]
    contents = [path.read_bytes() for path in found]
    return [content for content in contents if headers.looks_like_dicom(content[:140])]


def test_the_two_agree_on_whole_files(files: list[bytes]) -> None:
    answers = [(quick(data), thorough(data)) for data in files]
    assert [one for one in answers if one[0] is not None and one[0] != one[1]] == []
    assert sum(isinstance(one, DicomInstance) for one, _ in answers) > len(files) / 2


@pytest.mark.long
@pytest.mark.parametrize("mutator", [*GENERIC, *DICOM], ids=lambda mutator: str(mutator.__name__))
def test_the_two_agree_on_mutants(files: list[bytes], mutator: object) -> None:
    random = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    for data in files:
        for _ in range(MUTANTS_OF_EACH):
            mutant = mutator(data, random)  # type: ignore[operator]
            if not headers.looks_like_dicom(mutant[:140]):
                continue
            one = quick(mutant)
            seen["declined" if one is None else "judged"] += 1
            assert one is None or repr(one) == repr(thorough(mutant))  # NaN is not equal to itself
    assert seen["judged"] or seen["declined"]


def test_an_ordinary_file_needs_no_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "read_dicom_with_pydicom", lambda *_: pytest.fail("pydicom was asked"))
    for path in write(tmp_path, series()):
        data = path.read_bytes()
        assert headers.read_dicom_instance(str(path), data, "", MAX_BYTES).flaw == ""


@pytest.mark.parametrize("keyword", DICOM_ELEMENTS)
def test_the_elements_are_those_of_the_dictionary(keyword: str) -> None:
    tag, representation = DICOM_ELEMENTS[keyword]
    assert (tag, representation.decode()) == (tag_for_keyword(keyword), dictionary_VR(keyword))
