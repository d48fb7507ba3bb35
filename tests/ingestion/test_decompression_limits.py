"""A small file that holds gigabytes is refused before they are held in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import dicom_mutants, nifti_mutants
from siamese_med.ingestion import decompression_limits
from siamese_med.ingestion.reasons import RejectedError
from tests.ingestion import exports
from tests.ingestion.conftest import Place

GIGABYTES = 6_000_000_000


@pytest.mark.parametrize("declared", [True, False])
def test_a_gzip_that_holds_gigabytes(place: Place, tmp_path: Path, declared: bool) -> None:
    content = nifti_mutants.inflated(exports.nifti().to_bytes(), GIGABYTES, declared)
    (tmp_path / "bomb.nii.gz").write_bytes(content)
    assert place.ingest(tmp_path, timeout_s=300).account.reasons == {"too_large": 1}


@pytest.mark.long
def test_a_deflated_file_that_holds_gigabytes(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_mutants, "BOMB_BYTES", (GIGABYTES,))
    path = exports.write(tmp_path, exports.series())[2]
    path.write_bytes(dicom_mutants.deflated(path.read_bytes(), np.random.default_rng(0)))
    reasons = place.ingest(tmp_path, timeout_s=300).account.reasons
    assert reasons == {"too_large": 1, "missing_slice": exports.SLICES - 1}


@pytest.mark.parametrize(("squeezed", "declared"), [(10, 64 * 2**20), (10**7, 10**9)])
def test_what_real_pictures_shrink_by_passes(squeezed: int, declared: int) -> None:
    decompression_limits.check_inflated_size(squeezed, declared)
    with pytest.raises(RejectedError, match="too_large"):
        decompression_limits.check_inflated_size(squeezed, declared + 1)
