"""One patient's folder: the pages, the tables, the change maps, and what else is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med import files
from siamese_med.reporting import album, maps, outputs, pages, printing, viewer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siamese_med.config import ReportConfig
    from siamese_med.records import Extras
    from siamese_med.reporting.content import Pair, Patient

MOST_VISITS = 4
"""With more visits than this, every step but the newest gets a page of its own."""

OURS = re.compile(
    r"(report|pair-\d+|viewer-\d+)\.html|report\.(json|pdf)|pairs\.tsv"
    r"|ses-\d+/anat/sub-[A-Za-z0-9]+_ses-\d+_[A-Za-z0-9_-]+_probseg\.(json|nii\.gz)"
)
"""Files that only this module makes, so those that it did not make this time may go."""


@dataclass(frozen=True)
class Job:
    """One patient's folder to write: what its pages say, the rows of the scan table, and where all data lie."""

    folder: Path
    report: Patient
    rows: Sequence[Mapping[str, Any]]
    data: Path
    config: ReportConfig
    extras: Extras


def write(job: Job) -> None:
    """Write one patient's files and remove what is left of former ones."""
    folder, report, data, config, extras = job.folder, job.report, job.data, job.config, job.extras
    scans = {str(row["id"]): row for row in job.rows}
    linked = maps.write(folder, report, {name: str(row["path"]) for name, row in scans.items()}, data)
    shown = replace(report, pairs=_illustrated(report, data, config.pictures_per_pair))
    with_viewer = _write_viewers(folder, shown, scans, data) if extras.viewer else {}
    texts = pages.patient_pages(shown, apart(report), pages.Links(linked, with_viewer))
    texts["pairs.tsv"] = outputs.pairs_tsv(shown.pairs)
    for name, text in texts.items():
        files.write_text(folder / name, text)
    files.write_json(folder / "report.json", outputs.report(shown))
    if extras.pdf:
        files.write_bytes(folder / "report.pdf", printing.pdf(pages.printed_page(shown)))
    side_cars = {name.replace(".nii.gz", ".json") for name in linked.values()}
    printed = {"report.pdf"} if extras.pdf else set()
    clear(folder, {*texts, "report.json", *linked.values(), *side_cars, *with_viewer.values(), *printed})


def apart(report: Patient) -> tuple[int, ...]:
    """Numbers of the pairs that get a page of their own, in the order of time."""
    if len(report.visits) <= MOST_VISITS:
        return ()
    return tuple(pair.number for pair in reversed(report.pairs) if pair.role == "step")


def clear(folder: Path, keep: set[str]) -> None:
    """Remove our files of a patient's folder but those to keep, and the folder where nothing else is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and OURS.fullmatch(name) and name not in keep:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def _illustrated(report: Patient, data: Path, per_pair: int) -> tuple[Pair, ...]:
    """The pairs with the slices that fit on the page on which each is shown."""
    alone = set(apart(report))
    together = [pair for pair in report.pairs if pair.number not in alone]
    groups = [together, *([pair] for pair in report.pairs if pair.number in alone)]
    done = {pair.number: pair for group in groups for pair in album.illustrated(group, data, per_pair)}
    return tuple(done[pair.number] for pair in report.pairs)


def _write_viewers(folder: Path, report: Patient, scans: Mapping[str, Mapping[str, Any]], data: Path) -> dict[int, str]:
    """Write a viewer for every pair that the pages show; returns their names by pair number."""
    written = {}
    for pair in report.pairs:
        layers = viewer.layers(pair, scans, data) if pair.role != "other" else None
        if layers is not None:
            written[pair.number] = f"viewer-{pair.number}.html"
            files.write_text(folder / written[pair.number], pages.viewer_page(report, pair, layers))
    return written
