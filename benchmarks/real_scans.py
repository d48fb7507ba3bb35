"""What becomes of real scans: how many align, how many pairs are compared, what is said of them.

    python -m benchmarks.real_scans FOLDER --model DIR [--real ../shared/real]

Every public data set below --real is run from files to scores with the model DIR, as `siamese-med run` would do it.
`aligned` counts scans that lie on the template, `registered` pairs of one patient and one contrast that lie on each
other well enough to be compared, and `compared` those of them that got a verdict. Scans that are not aligned, and pairs
that are not registered, are named. The glioblastoma patients were chosen because their tumours grew, so "no change" is
wrong for all of their pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

import siamese_med
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.study.prepared_scans import PreparedScan

Row = tuple[str, str, Path]
"""Subject, session, file."""
COLUMNS = (
    "data set",
    "patients",
    "scans",
    "aligned",
    "pairs",
    "registered",
    "compared",
    "changed",
    "uncertain",
    "no change",
)


def glioblastoma(folder: Path) -> Iterator[Row]:
    """Two visits each, contrast-enhanced T1; the tumour masks beside them are left out."""
    for path in sorted(folder.glob("sub-*/ses-*/T1post.nii.gz")):
        yield path.parts[-3], path.parts[-2], path


def multiple_sclerosis(folder: Path) -> Iterator[Row]:
    """Two visits each, in FLAIR, T1 and T2 as far as there are some."""
    for path in sorted(folder.glob("patient*/study*_*W.nii.gz")) + sorted(folder.glob("patient*/study*_FLAIR.nii.gz")):
        yield path.parent.name, path.name.split("_")[0], path


def single_visits(folder: Path) -> Iterator[Row]:
    """One visit each; `sub-01_T1w.nii.gz`, alone or in a folder of the patient's."""
    for path in sorted(folder.rglob("sub-*.nii.gz")):
        yield path.name.split("_")[0], "1", path


def whole_names(folder: Path) -> Iterator[Row]:
    """One visit each, and the person is the whole file name."""
    for path in sorted(folder.glob("*.nii.gz")):
        yield path.name.split("_")[0], "1", path


DATA_SETS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "brain_tumor_progression": glioblastoma,
    "open_ms": multiple_sclerosis,
    "ds000011": single_visits,
    "ds002748": single_visits,
    "ixi_2mm": whole_names,
}


def main() -> None:
    """Print one row for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name, found in DATA_SETS.items():
        rows = list(found((given.real / name).resolve()))
        print("| " + " | ".join([name, *map(str, counts(rows, given.folder / name, given.model))]) + " |", flush=True)


def counts(rows: list[Row], folder: Path, model: Path) -> list[int]:
    """The figures of one data set, in the order of COLUMNS."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    pd.DataFrame(rows, columns=["subject", "session", "path"]).to_csv(manifest, index=False)
    study = siamese_med.Study(folder / "data", folder / "reports")
    scans = siamese_med.ingest(manifest, study).scans
    prepared = siamese_med.prepare(study, model)
    aligned = prepared.alignments.set_index("scan").ok
    siamese_med.build_pairs(study)
    scores = siamese_med.score(study, model)
    same = scores[(scores.subject_a == scores.subject_b)]
    known = prepared.scans(siamese_med.scans(study))
    sides = [(known[pair.scan_a], known[pair.scan_b]) for pair in same.itertuples()]
    same = same.loc[[a.contrast == b.contrast for a, b in sides]]  # rows, also of a table without any
    sides = [(a, b) for a, b in sides if a.contrast == b.contrast]
    registered = [lie_on_each_other(study, a, b) for a, b in sides]
    lost = [f"{a.id} and {b.id}" for (a, b), good in zip(sides, registered, strict=True) if not good]
    lost += aligned.index[~aligned].tolist()
    for name in lost:
        print(f"not placed: {name}", file=sys.stderr)
    verdicts = [int((same.verdict == word).sum()) for word in ("changed", "uncertain", "no_change")]
    counted = [scans.subject.nunique(), len(scans), int(aligned.sum()), len(same), sum(registered)]
    return [*counted, int(same.comparable.sum()), *verdicts]


def lie_on_each_other(study: siamese_med.Study, a: PreparedScan, b: PreparedScan) -> bool:
    """Whether two scans are registered well enough to be compared."""
    sides = [ScanReader(study.data).read_side(scan) for scan in (a, b)]
    regions = sides[0].region, sides[1].region
    pair = register_pair(sides[0].scan, sides[1].scan, regions, study.config.score.spacing_mm)
    return pair.quality >= study.config.score.min_pose_quality and pair.overlap >= study.config.score.min_overlap


if __name__ == "__main__":
    main()
