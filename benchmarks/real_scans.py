"""What becomes of real scans: how many align, how many pairs are compared, what is said of them.

    python -m benchmarks.real_scans FOLDER --model DIR [--real ../shared/real]

Every public data set below --real is run from files to scores with the model DIR, as `siamese-med run` would do it. The
glioblastoma patients were chosen because their tumours grew, so "no change" is wrong for all of their pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

import siamese_med

Row = tuple[str, str, Path]
"""Subject, session, file."""
COLUMNS = ("data set", "patients", "scans", "aligned", "pairs", "compared", "changed", "no change")


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


DATA_SETS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "brain_tumor_progression": glioblastoma,
    "open_ms": multiple_sclerosis,
    "ds000011": single_visits,
    "ds002748": single_visits,
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
    aligned = siamese_med.prepare(study, model).alignments.ok
    siamese_med.build_pairs(study)
    scores = siamese_med.score(study, model)
    same = scores[scores.subject_a == scores.subject_b]
    verdicts = [int((same.verdict == word).sum()) for word in ("changed", "no_change")]
    return [scans.subject.nunique(), len(scans), int(aligned.sum()), len(same), int(same.comparable.sum()), *verdicts]


if __name__ == "__main__":
    main()
