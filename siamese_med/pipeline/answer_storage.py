"""Keep a reader's answers to a patient's page in the study, from the file that the page saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from siamese_med.errors import InputError
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.reader_answers import (
    ANSWERS_FOLDER,
    ReaderAnswerFile,
    merge_answers,
    read_answer_file,
    read_stored_answers,
    write_stored_answers,
)
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import FindingAnswer


def store_reader_answers(path: Path, study: Study) -> Mapping[str, object]:
    """Keep the answers of a file; they replace earlier ones to the same findings and scans. All of it is kept, or none.

    Parameters
    ----------
    path
        The file that a patient's page saved.
    study
        Its reports say which findings there are.

    Returns
    -------
    Mapping
        Whose answers they are, whether they are new, and counts of what is kept of this patient now.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is no file of answers, or answers to a page that is not there, or not any more.
    """
    new = read_answer_file(path)
    _check_that_page_lists(new, study.reports)
    with files.hold_exclusive_lock(study.data / ANSWERS_FOLDER / ".lock"):
        kept = read_stored_answers(study.data, new.subject)
        merged = merge_answers(kept, new)
        changed = merged != (kept or ReaderAnswerFile.make(new.subject, (), ()))
        if changed:
            write_stored_answers(study.data, merged)
    answers = [one.answer for one in merged.findings]
    return {
        "subject": new.subject,
        "new": changed,
        "confirmed": answers.count(FindingAnswer.CONFIRMED),
        "rejected": answers.count(FindingAnswer.REJECTED),
        "remarks": sum(bool(one.remark) for entries in (merged.findings, merged.scans) for one in entries),
        "rated_scans": sum(one.quality is not None for one in merged.scans),
    }


def _check_that_page_lists(answers: ReaderAnswerFile, reports: Path) -> None:
    """Raise InputError unless the patient's report lists everything that is answered."""
    path = reports / answers.subject / "report.json"
    if not path.is_file():
        raise InputError("the patient of these answers has no page below --reports: give the study's own folders")
    try:
        reader = untrusted_input.read_untrusted_json(path)["reader"]
        listed = {kind: {one["id"] for one in reader[kind]} for kind in ("findings", "scans")}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("the patient's report cannot be read: run `siamese-med report` again") from None
    asked = {"findings": [one.id for one in answers.findings], "scans": [one.id for one in answers.scans]}
    unknown = sum(name not in listed[kind] for kind, names in asked.items() for name in names)
    if unknown:
        total = sum(map(len, asked.values()))
        raise InputError(
            f"{unknown} of {total} answers are to nothing on this patient's page: answer on the newest page"
        )
