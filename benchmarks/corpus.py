"""Ingest every case of a corpus by itself and compare with what its manifest expects and with dcm2niix's geometry.

python -m benchmarks.corpus ../shared/corpus [--deface]

With --deface, faces are to be removed: a case whose scans are right without is right if each of them lost its face, or
was kept out as `face_not_removed`; what is refused without has to be refused for the same reason.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.reasons import REASON_HINTS, SCAN_FLAGS
from siamese_med.study.config import IngestConfig
from siamese_med.study.tables import IngestResult

MAX_AFFINE_MM = 0.01
MAX_MEAN_SHARE = 1e-3

MEANINGS = {
    "truncated": {"truncated", "truncated_pixels"},
    "mixed_orientation": {"mixed_geometry"},
    "sform_qform_conflict": {"affine_conflict"},
    "declared_size": {"too_large", "truncated"},
}
"""Words of the corpus' manifest that differ from ours."""


@dataclass(frozen=True)
class Result:
    """One case: what came of it, and what was wrong with that (empty: nothing)."""

    case: str
    scans: int
    account: str
    reasons: str
    affine_mm: float | None
    mean_share: float | None
    problems: tuple[str, ...]


def check(case: Path, expect: str, reference: dict[str, Any], deface: bool = False) -> Result:
    """Ingest one case into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        ingested = ingest_folder.ingest_files(
            case, data, f"sqlite:///{data / 'catalogue.sqlite'}", _config(Path(folder), deface)
        )
        kept_out = deface and "face_not_removed" in ingested.account.reasons
        problems = [
            *([] if kept_out and not _refusals(expect) else _wrong_outcome(ingested, expect)),
            *(["face"] if deface and not all("defaced" in flags for flags in ingested.scans["flags"]) else []),
            *([] if ingested.account.balanced() else ["account"]),
        ]
        affine_mm, mean_share = _against_dcm2niix(ingested, data, reference)
        problems += ["affine"] if affine_mm is not None and affine_mm > MAX_AFFINE_MM else []
        problems += ["mean"] if mean_share is not None and mean_share > MAX_MEAN_SHARE else []
    one = ingested.account
    account = f"{one.files_seen}={one.ingested}+{one.skipped}+{one.duplicate}+{one.quarantined}"
    reasons = " ".join(f"{word}:{count}" for word, count in one.reasons.items())
    return Result(case.name, len(ingested.scans), account, reasons, affine_mm, mean_share, tuple(problems))


def _config(folder: Path, deface: bool = False) -> IngestConfig:
    secret = folder / "secret"
    secret.write_bytes(secrets.token_bytes(32))
    secret.chmod(0o600)
    return IngestConfig(secret_file=secret, workers=1, deface=deface)


def _wrong_outcome(ingested: IngestResult, expect: str) -> list[str]:
    refusals = _refusals(expect)
    if refusals:
        right = not len(ingested.scans) and bool(refusals & set(ingested.account.reasons))
        return [] if right else ["refusal"]
    if "4D" in expect:
        return [] if not len(ingested.scans) and set(ingested.account.reasons) == {"ndim_4"} else ["4D"]
    wanted = int(match.group(1)) if (match := re.match(r"(\d+) volume", expect)) else 1
    flags = {flag for many in ingested.scans["flags"] for flag in many}
    problems = [f"no flag {flag}" for flag in SCAN_FLAGS if flag in expect and flag not in flags]
    problems += ["duplicate"] if "1 duplicate" in expect and ingested.account.duplicate != 1 else []
    return problems + ([] if len(ingested.scans) == wanted else ["scans"])


def _refusals(expect: str) -> set[str]:
    """Reason words, of which one must be given, where the case may not be ingested."""
    if expect.startswith(("ok", "ingest")) or not re.search("quarantine|skip", expect):
        return set()
    words = set(re.findall(r"[a-z_]+[24]?", expect))
    return set().union(*(MEANINGS.get(word, {word} & set(REASON_HINTS)) for word in words)) | ({"ndim_4"} & words)


def _against_dcm2niix(
    ingested: IngestResult, data: Path, reference: dict[str, Any]
) -> tuple[float | None, float | None]:
    """Largest difference of the RAS affines in mm, and of the means as a share; None where the two cannot be compared.

    dcm2niix scales Philips' enhanced files by private tags, so their intensities are another unit.
    """
    outputs = reference.get("dcm2niix", {}).get("outputs", [])
    if len(outputs) != 1 or len(ingested.scans) != 1 or len(outputs[0]["shape"]) != 3:
        return None, None
    theirs = volume.reorient_to_ras(Volume(np.zeros(outputs[0]["shape"], np.uint8), np.asarray(outputs[0]["affine"])))
    ours = volume.read_volume(data / ingested.scans["path"][0])
    if ours.voxels.shape != theirs.voxels.shape:
        return float("inf"), None
    mean_share = abs(float(ours.voxels.mean(dtype=np.float64)) / outputs[0]["mean"] - 1)
    enhanced = ingested.account.files_seen == 1
    return float(np.abs(ours.affine - theirs.affine).max()), None if enhanced else mean_share


def table(results: list[Result]) -> str:
    """The results as text, one line a case."""
    lines = [f"{'case':26}{'scans':>6}  {'seen=in+skip+dup+quar':22}{'affine mm':>10}{'mean':>9}  {'':4} reasons"]
    for one in results:
        affine = "" if one.affine_mm is None else f"{one.affine_mm:.5f}"
        mean = "" if one.mean_share is None else f"{one.mean_share:.1e}"
        verdict = "ok" if not one.problems else "BAD"
        notes = one.reasons + (f" ({', '.join(one.problems)})" if one.problems else "")
        lines.append(f"{one.case:26}{one.scans:>6}  {one.account:22}{affine:>10}{mean:>9}  {verdict:4} {notes}")
    right = sum(not one.problems for one in results)
    return "\n".join([*lines, f"{right} of {len(results)} cases as expected"])


def run(corpus: Path, deface: bool = False) -> list[Result]:
    """All cases of a corpus folder with its manifest.json and reference.json."""
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    reference = json.loads((corpus / "reference.json").read_text(encoding="utf-8"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checks = [
            threads.submit(check, corpus / case, about["expect"], reference.get(case, {}), deface)
            for case, about in manifest.items()
        ]
        return [one.result() for one in checks]


def main() -> int:
    """Print the table; 0 where every case is as expected."""
    given = [word for word in sys.argv[1:] if word != "--deface"]
    results = run(Path(given[0] if given else "../shared/corpus"), "--deface" in sys.argv)
    print(table(results))
    return 0 if not any(one.problems for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
