"""Export of reports as DICOM objects into a folder. The objects name patients: they are for the hospital's archive."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from siamese_med.dicom_export import encapsulated_pdf, segmentation, source_images, structured_report
from siamese_med.dicom_export.identifiers import ExportContext, encode_dicom_object
from siamese_med.dicom_export.source_images import LeftOutError, SourceImages
from siamese_med.errors import InputError, UsageError
from siamese_med.imaging import volume
from siamese_med.ingestion.privacy.originals import OriginalFile, find_original_files
from siamese_med.reporting.render import pdf_pages
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.component import Component
from siamese_med.study.input_source import Pull
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import PairRole, ScanSource, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ExportedPair = Mapping[str, Any]
"""A pair as it stands in a patient's `report.json`; its fields are described in the JSON Schema beside it."""
EXPORTED_PAIR_ROLES = (PairRole.NEWEST, PairRole.SINCE_FIRST)
"""Roles of the pairs that are exported: those that end with the newest visit. Older pairs were exported before."""

EXPORTED_FILE_PATTERN = re.compile(r"(seg|sr)-pair\d+\.dcm|report-pdf\.dcm")
"""Names of exported files; files of other names in the folder are left alone."""


class DicomExportCounts(TypedDict):
    """Result of an export: numbers of objects and patients, and of follow-ups left out by reason.

    The reasons are the keys of `source_images.LEFT_OUT_REASONS`.
    """

    objects: int
    patients: int
    left_out: dict[str, int]


def check_export_folder(folder: Path, source: Path | Pull | None, study: Study) -> Path:
    """Check that DICOM objects can be written to `folder`; returns the input folder.

    Raises
    ------
    UsageError
        `source` is not a folder; or `folder` is a file, or lies in the study's data or reports folder, which must stay
        free of patient identity.
    """
    if not isinstance(source, Path):
        raise UsageError("--dicom needs the files on disk: give the ingested folder with --input, not an address")
    for kept in (study.data, study.reports):
        if folder.resolve().is_relative_to(kept.resolve()):
            raise UsageError(
                "--dicom lies inside the data or reports folder, which must not name patients: give another folder"
            )
    if folder.exists() and not folder.is_dir():
        raise UsageError("--dicom is a file: give a folder")
    return source


def write_dicom_export(folder: Path, source: Path, study: Study, model: str, scans: pd.DataFrame) -> DicomExportCounts:
    """Write the DICOM objects of every patient who has a report; the same reports and files give the same bytes.

    Parameters
    ----------
    folder
        Folder to write to; it gets a folder for each patient (pseudonym) and session. The objects name the patient.
    source
        The input folder with the original DICOM files.
    model
        Id of the model that made the reports.
    scans
        All scans of the catalogue.

    Raises
    ------
    InputError
        A `report.json` cannot be read or holds an unsafe name.
    """
    wanted = dict(_read_exported_pairs(study.reports))
    from_dicom = set(scans[scans["source"] == ScanSource.DICOM].id)
    mentioned = {pair[side] for pairs in wanted.values() for pair in pairs for side in ("earlier", "later")}
    config = study.config.ingest
    found = find_original_files(mentioned & from_dicom, study.catalogue_url, config.secret_file, source)
    desk = _PatientExporter(study, model, found, from_dicom)
    objects, patients, left_out = 0, 0, Counter[str]()
    with _quiet():
        for subject, pairs in wanted.items():
            made, reasons = desk.patient(subject, pairs)
            left_out.update(reasons)
            if made:
                _write_patient_files(folder / subject, made)
                objects, patients = objects + len(made), patients + 1
    return {"objects": objects, "patients": patients, "left_out": dict(sorted(left_out.items()))}


def _read_exported_pairs(reports: Path) -> Iterator[tuple[str, list[ExportedPair]]]:
    """Read each patient's report; gives the patients and their pairs to export.

    Where the model's test of identity is not valid, the identity of no pair counts as judged.
    """
    for path in sorted(reports.glob("sub-*/report.json")):
        try:
            report = untrusted_input.read_untrusted_json(path)
            valid = not report["claim"]["withheld"]
            chosen: list[ExportedPair] = [
                {**pair, "identity_judged": pair["identity_judged"] and valid}
                for pair in report["pairs"]
                if pair["role"] in EXPORTED_PAIR_ROLES
            ]
            sound = all(map(_is_sound, chosen))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"a report cannot be read ({path.parent.name}): run `siamese-med report` again") from error
        if not sound:
            raise InputError(f"a report has an unsafe file name ({path.parent.name}): run `siamese-med report` again")
        if chosen:
            yield path.parent.name, chosen


def _is_sound(pair: ExportedPair) -> bool:
    """Tell whether all parts of file names are safe, and the map lies in the data folder."""
    named = untrusted_input.is_safe_name(pair["later_session"]) and type(pair["number"]) is int
    return named and (pair["map"] is None or untrusted_input.is_safe_relative_path(pair["map"]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and logs of pydicom and highdicom, which would quote values of a header."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class _PatientExporter:
    """Makes the objects of one patient at a time."""

    study: Study
    model: str
    found: Mapping[str, Sequence[OriginalFile]]
    from_dicom: set[str]

    def patient(self, subject: str, pairs: Sequence[ExportedPair]) -> tuple[dict[str, bytes], list[str]]:
        """Make a patient's files, by path below the patient's folder; and a reason for each incomplete follow-up."""
        later: dict[str, SourceImages] = {}
        reasons: dict[str, str] = {}
        for scan in sorted({pair["later"] for pair in pairs}):
            try:
                later[scan] = self._images(scan)
            except LeftOutError as left_out:
                reasons[scan] = left_out.reason
            except Exception:  # a hostile header can make the libraries raise anything
                reasons[scan] = "not_encodable"
        usable = [pair for pair in pairs if pair["later"] in later]
        if not usable:
            return {}, list(reasons.values())
        pdf = _read_or_print_pdf(self.study.reports / subject)  # our own page: an error here is a defect, not a reason
        try:
            made = dict(self._objects(subject, usable, later, pdf))
        except Exception:  # likewise, when an object is built: it affects this patient only
            return {}, [*reasons.values(), *("not_encodable" for _ in later)]
        return made, [*reasons.values(), *("no_frame_of_reference" for one in later.values() if not one.placed)]

    def _images(self, scan: str) -> SourceImages:
        if scan not in self.from_dicom:
            raise LeftOutError("not_dicom")
        if scan not in self.found:
            raise LeftOutError("source_missing")
        return source_images.read_source_images(self.found[scan], self.study.config.ingest.max_gigabytes * 1e9)

    def _objects(
        self, subject: str, pairs: Sequence[ExportedPair], later: Mapping[str, SourceImages], pdf: bytes
    ) -> Iterator[tuple[str, bytes]]:
        for pair in pairs:
            for kind, content in self._of_pair(subject, pair, later[pair["later"]]):
                yield f"{pair['later_session']}/{kind}-pair{pair['number']:02d}.dcm", content
        session, beside = pairs[0]["later_session"], later[pairs[0]["later"]]
        filing = ExportContext("pdf", pairs[0]["number"], f"{subject} {session}", subject, self.model, beside)
        yield (
            f"{session}/report-pdf.dcm",
            encode_dicom_object(encapsulated_pdf.build_encapsulated_pdf(pdf, beside.datasets, filing), beside.owner),
        )

    def _of_pair(self, subject: str, pair: ExportedPair, later: SourceImages) -> Iterator[tuple[str, bytes]]:
        about = (pair["number"], f"{pair['earlier']} {pair['later']}", subject, self.model, later)
        numbers, segments = self._segment(pair, later) or (None, [])
        seg = None
        if numbers is not None and segments:
            seg = segmentation.build_segmentation(numbers, segments, later, ExportContext("seg", *about))
            yield "seg", encode_dicom_object(seg, later.owner)
        report = structured_report.build_measurement_report(
            pair, later.datasets, self._earlier(pair), seg, segments, ExportContext("sr", *about)
        )
        yield "sr", encode_dicom_object(report, later.owner)

    def _segment(
        self, pair: ExportedPair, later: SourceImages
    ) -> tuple[NDArray[np.uint8], list[segmentation.ChangeSegment]] | None:
        """The change on the follow-up's images, and its segments; None if no verdict was reached.

        For a suspected wrong patient there is none, and the structured report has no figures of change.
        """
        judged = pair["status"] in (Verdict.CHANGED, Verdict.UNCERTAIN, Verdict.NO_CHANGE)
        if not (judged and pair["map"] and pair["transform"] and later.placed):
            return None
        change_map = volume.read_volume(self.study.data / pair["map"])
        parts = [Component.from_json(part) for part in pair["components"]]
        transform = np.asarray(pair["transform"], dtype=np.float64)
        return segmentation.segment_change(change_map, parts, transform, later)

    def _earlier(self, pair: ExportedPair) -> Sequence[Any]:
        """The images of the earlier scan, which the report names as evidence; none if they are missing."""
        try:
            return self._images(pair["earlier"]).datasets
        except Exception:
            return ()


def _read_or_print_pdf(folder: Path) -> bytes:
    """Read the patient's page as PDF, or print it from the HTML page if there is no PDF."""
    written = folder / "report.pdf"
    if written.is_file():
        return written.read_bytes()
    return pdf_pages.render_pdf((folder / "report.html").read_text(encoding="utf-8"))


def _write_patient_files(folder: Path, made: Mapping[str, bytes]) -> None:
    """Write one patient's files, readable by their owner only, and remove outdated files of an earlier export."""
    if folder.is_dir():
        files.remove_stale_temporary_files(folder)
    for name, content in made.items():
        with files.replace_atomically(folder / name, mode=0o600) as temporary:
            temporary.write_bytes(content)
    for path in _departed(folder.glob("ses-*/*.dcm"), {folder / name for name in made}):
        path.unlink()


def _departed(there: Iterable[Path], made: set[Path]) -> list[Path]:
    return [path for path in there if EXPORTED_FILE_PATTERN.fullmatch(path.name) and path not in made]
