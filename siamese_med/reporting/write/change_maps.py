"""Write the change maps as a BIDS derivative beside the pages: NIfTI files with JSON side-cars.

    sub-X/ses-6/anat/sub-X_ses-6_space-ses5FLAIR_desc-changeFLAIR_probseg.nii.gz

is the map of the later scan (FLAIR of ses-6) in the space of the earlier one (FLAIR of ses-5).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.runtime import files
from siamese_med.study import bids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siamese_med.reporting.data.report_content import PatientReport, ReportPair

BIDS_IGNORED_FILES = (
    *("*.html", "*.schema.json", "cohort.*", "ingest.tsv", "pairs.json", "pairs.parquet", "run.json"),
    *("report.pdf", "report.json", "report.fhir.json", "report.txt", "pairs.tsv", "lesions.tsv"),
)
"""Content of .bidsignore: files of the reports for which BIDS has no names."""
REPORTS_README = """Reports of siamese-med. Research use only: not a medical device.

`index.html` leads to the page of every patient. `sub-*/ses-*/anat` holds the change maps: for each voxel, the estimated
share of voxels as deviant that a rescan would not explain. They lie in the space of the earlier scan, and are filed
under the later visit. The JSON beside a map names both scans, and the matrix from the earlier scan's millimetres to
the later one's (RAS+).
`sub-*/report.json` (`report.schema.json`) and `sub-*/pairs.tsv` (`pairs.json`) hold the figures of the pages,
`pairs.parquet` those of all patients, `sub-*/report.txt` findings and methods in words. Subjects are pseudonyms, and
dates are shifted.
"""
"""Text of README in the folder of reports, which BIDS requires."""


def write_bids_files(reports: Path, scans: Path, subjects: list[str]) -> None:
    """Write the files that make the folder of reports a BIDS derivative dataset.

    These are dataset_description.json, README, .bidsignore and participants.tsv.

    Parameters
    ----------
    reports
        The folder of reports.
    scans
        BIDS dataset of the scans; the maps' side-cars name their sources in it as `bids:scans:<path>`.
    subjects
        Names of the patients' folders.

    References
    ----------
    BIDS specification, "Derived dataset and pipeline description".
    """
    links = {"scans": Path(os.path.relpath(scans, reports)).as_posix()}
    description = bids.make_dataset_description("Change maps and reports of siamese-med", DatasetLinks=links)
    files.write_json_file(reports / "dataset_description.json", description)
    files.write_text_file(reports / "README", REPORTS_README)
    files.write_text_file(reports / ".bidsignore", "".join(f"{name}\n" for name in BIDS_IGNORED_FILES))
    files.write_text_file(reports / "participants.tsv", "".join(f"{name}\n" for name in ("participant_id", *subjects)))


def name_change_map(pair: ReportPair) -> str:
    """Return the path of a pair's change map below the patient's folder.

    Parameters
    ----------
    pair
        Its scan ids start with subject and session, and end with the contrast.
    """
    subject, session, *middle, contrast = pair.later.split("_")
    space = re.sub(r"[^A-Za-z0-9]", "", pair.earlier.removeprefix(f"{subject}_"))
    stem = "_".join((subject, session, *middle, f"space-{space}", f"desc-change{contrast}", "probseg"))
    return f"{session}/anat/{stem}.nii.gz"


def write_change_maps(folder: Path, report: PatientReport, paths: Mapping[str, str], data: Path) -> dict[int, str]:
    """Write the change maps of a patient with their side-cars.

    Parameters
    ----------
    folder
        The patient's folder.
    report
        Pairs without a map are left out.
    paths
        Paths of the scans by id, relative to `data`.
    data
        The data folder. The maps are hard-linked to it where the file system allows that, else copied.

    Returns
    -------
    dict
        Path of each map below `folder`, by number of the pair.
    """
    written = {}
    for pair in report.pairs:
        if not (pair.score.map and (data / pair.score.map).is_file()):
            continue
        written[pair.number] = name_change_map(pair)
        files.link_or_copy_file(data / pair.score.map, folder / written[pair.number])
        side_car = folder / written[pair.number].replace(".nii.gz", ".json")
        files.write_text_file_without_sync(
            side_car, json.dumps(_side_car(pair, paths, report), indent=2, sort_keys=True) + "\n"
        )
    return written


def _side_car(pair: ReportPair, paths: Mapping[str, str], report: PatientReport) -> Mapping[str, object]:
    earlier, later = (f"bids:scans:{paths[one].removeprefix('scans/')}" for one in (pair.earlier, pair.later))
    return {
        "Description": "Probability, against a rescan, that tissue changed",
        "SpatialReference": earlier,
        "Sources": [earlier, later],
        "EarlierToLaterMillimetres": pair.score.transform,
        "Model": report.provenance.model,
        "Pair": pair.number,
        "Verdict": pair.verdict,
    }
