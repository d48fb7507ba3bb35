"""Write one patient's folder: pages, tables, change maps, and on request viewers and a PDF."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.reporting.render import lesion_pictures, pages, pdf_pages, slice_choice, viewer
from siamese_med.reporting.render.lesion_pictures import measure_pictures
from siamese_med.reporting.render.slice_choice import MAX_PICTURE_BYTES_PER_PAGE
from siamese_med.reporting.write import change_maps, fhir_bundle, json_tsv, plain_text
from siamese_med.runtime import files
from siamese_med.study.lesion import locate_lesion_slices
from siamese_med.study.vocabulary import PairRole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siamese_med.reporting.data.report_content import PatientReport, ReportPair
    from siamese_med.study.config import ReportConfig
    from siamese_med.study.tables import ReportExtras

MAX_VISITS_ON_ONE_PAGE = 4
"""With more visits than this, every pair of consecutive visits but the newest gets a page of its own."""

MAX_PAIRS_ON_ONE_PAGE = 6
"""With more pairs than this on the page they do so too: few visits in several contrasts are as much to show."""

OWN_FILE_PATTERN = re.compile(
    r"(report|pair-\d+|viewer-\d+)\.html|report\.(json|pdf|txt|fhir\.json)|(pairs|lesions)\.tsv"
    r"|ses-\d+/anat/sub-[A-Za-z0-9]+_ses-\d+_[A-Za-z0-9_-]+_probseg\.(json|nii\.gz)"
)
"""Files that only this module writes, and may remove; paths below a patient's folder."""


@dataclass(frozen=True)
class PatientFolderJob:
    """One patient's folder to write.

    Parameters
    ----------
    folder
        The folder.
    report
        Content of the pages, without pictures.
    rows
        The patient's rows of the scan table.
    data
        The data folder, from which paths in the tables count.
    config
        The `report` section of the configuration.
    extras
        What is written only on request.
    """

    folder: Path
    report: PatientReport
    rows: Sequence[Mapping[str, object]]
    data: Path
    config: ReportConfig
    extras: ReportExtras


def write_patient_folder(job: PatientFolderJob) -> None:
    """Write one patient's files, and remove the ones of earlier runs that are no longer made.

    Slices are rendered here and added to the report. Then come report.html and the pages of single pairs, report.txt,
    pairs.tsv, lesions.tsv where lesions were marked, report.json and, if requested, report.fhir.json and report.pdf.
    """
    folder, report, data, config, extras = job.folder, job.report, job.data, job.config, job.extras
    scans = {str(row["id"]): row for row in job.rows}
    linked = change_maps.write_change_maps(
        folder, report, {name: str(row["path"]) for name, row in scans.items()}, data
    )
    pictures = (
        lesion_pictures.read_lesion_pictures(locate_lesion_slices(data, report.subject)) if report.lesions else {}
    )
    shown = replace(report, pairs=_illustrated(report, data, config.pictures_per_pair, measure_pictures(pictures)))
    with_viewer = _write_viewers(folder, shown, scans, data) if extras.viewer else {}
    texts = pages.render_patient_pages(
        shown, select_pairs_with_own_page(report), pages.PatientFileLinks(linked, with_viewer), pictures
    )
    texts["report.txt"] = plain_text.format_report_text(shown.text)
    texts["pairs.tsv"] = json_tsv.format_pairs_tsv(shown.pairs)
    if shown.lesions:
        texts["lesions.tsv"] = json_tsv.format_lesions_tsv(shown.lesions)
    for name, text in texts.items():
        files.write_text_file(folder / name, text)
    objects = {"report.json": json_tsv.serialise_patient_report(shown)}
    if extras.fhir:
        objects["report.fhir.json"] = fhir_bundle.build_fhir_bundle(shown)
    for name, value in objects.items():
        files.write_json_file(folder / name, value)
    if extras.pdf:
        files.write_bytes_file(folder / "report.pdf", pdf_pages.render_pdf(pages.render_printed_page(shown, pictures)))
    side_cars = {name.replace(".nii.gz", ".json") for name in linked.values()}
    printed = {"report.pdf"} if extras.pdf else set()
    remove_stale_files(folder, {*texts, *objects, *linked.values(), *side_cars, *with_viewer.values(), *printed})


def select_pairs_with_own_page(report: PatientReport) -> tuple[int, ...]:
    """Return the numbers of the pairs that get a page of their own, in the order of time.

    None up to MAX_VISITS_ON_ONE_PAGE visits and MAX_PAIRS_ON_ONE_PAGE pairs; with more of either, every pair of
    consecutive visits except the newest one.
    """
    shown = sum(pair.role != PairRole.OTHER for pair in report.pairs)
    if len(report.visits) <= MAX_VISITS_ON_ONE_PAGE and shown <= MAX_PAIRS_ON_ONE_PAGE:
        return ()
    return tuple(pair.number for pair in reversed(report.pairs) if pair.role == PairRole.STEP)


def remove_stale_files(folder: Path, keep: set[str]) -> None:
    """Remove the files of a patient's folder that match OWN_FILE_PATTERN and are not in `keep`, and empty folders.

    Parameters
    ----------
    folder
        The patient's folder; removed as well where nothing is left in it.
    keep
        Paths below `folder`, with forward slashes.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and OWN_FILE_PATTERN.fullmatch(name) and name not in keep:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def _illustrated(report: PatientReport, data: Path, per_pair: int, taken: int) -> tuple[ReportPair, ...]:
    """The pairs with slices, as many as fit on the page that shows them; of report.html so many bytes are taken."""
    alone = set(select_pairs_with_own_page(report))
    together = [pair for pair in report.pairs if pair.number not in alone]
    room = MAX_PICTURE_BYTES_PER_PAGE - taken
    done = list(slice_choice.add_slices_to_pairs(together, data, per_pair, room))
    for pair in report.pairs:
        if pair.number in alone:
            done += slice_choice.add_slices_to_pairs([pair], data, per_pair)
    by_number = {pair.number: pair for pair in done}
    return tuple(by_number[pair.number] for pair in report.pairs)


def _write_viewers(
    folder: Path, report: PatientReport, scans: Mapping[str, Mapping[str, object]], data: Path
) -> dict[int, str]:
    """Write a viewer for every pair that the pages show; returns their names by pair number."""
    written = {}
    for pair in report.pairs:
        layers = viewer.build_viewer_layers(pair, scans, data) if pair.role != PairRole.OTHER else None
        if layers is not None:
            written[pair.number] = f"viewer-{pair.number}.html"
            files.write_text_file(folder / written[pair.number], pages.render_viewer_page(report, pair, layers))
    return written
