"""A reader's answers to what a patient's page lists: the file that the page saves, and what the study keeps of it.

    {"format": 1, "kind": "siamese-med answers", "subject": "sub-...",
     "findings": [{"id": "ses-1_FLAIR..ses-2_FLAIR@11,-24,30", "answer": "rejected", "remark": "vessel"}],
     "scans": [{"id": "sub-..._ses-2_FLAIR", "quality": "poor", "remark": ""}]}

The id of a part of a change map is its pair and place: both scans, and the centre in whole mm of the earlier one.
Another model puts the same part a little elsewhere, so an answer also counts for a part within SAME_PLACE_MM. The id of
a marked lesion is its contrast and number. A file comes from a browser: nothing in it is trusted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from siamese_med.errors import InputError, MissingFileError
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.thresholds import BESIDE_PART_MM
from siamese_med.study.vocabulary import FindingAnswer, ScanQuality

ANSWERS_FOLDER = "answers"
"""Folder of a study's data folder that holds one file a patient."""
MAX_FILE_BYTES = 1_000_000
"""A larger file was not saved by a page."""
MAX_REMARK_CHARACTERS = 200
MAX_ANSWERS = 2000
"""Most findings, and most scans, of one file."""
SAME_PLACE_MM = BESIDE_PART_MM
"""An answer counts for a part of the same pair whose centre is not farther away than this."""

PART_ID = re.compile(r"(?P<pair>[^@]+)@(?P<x>-?\d{1,4}),(?P<y>-?\d{1,4}),(?P<z>-?\d{1,4})")


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a character that cannot be printed")
    return text.strip()


AnsweredId = Annotated[str, Field(strict=True, min_length=1, max_length=400), AfterValidator(_check_printable)]
Remark = Annotated[str, Field(strict=True, max_length=MAX_REMARK_CHARACTERS), AfterValidator(_check_printable)]


class AnswerPart(BaseModel):
    """A part of a file of answers; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AnsweredFinding(AnswerPart):
    """Entry of the reader about one finding; without an answer and a remark it takes an earlier one back."""

    id: AnsweredId
    answer: FindingAnswer | None
    remark: Remark

    @property
    def empty(self) -> bool:
        """Return whether nothing is said."""
        return self.answer is None and not self.remark


class RatedScan(AnswerPart):
    """Rating of the quality of one scan by the reader."""

    id: AnsweredId
    quality: ScanQuality | None
    remark: Remark

    @property
    def empty(self) -> bool:
        """Return whether nothing is said."""
        return self.quality is None and not self.remark


class ReaderAnswerFile(AnswerPart):
    """The answers to one patient's page.

    Examples
    --------
    >>> said = AnsweredFinding(id="ses-1_T1w..ses-2_T1w@1,2,3", answer="rejected", remark="")
    >>> kept = ReaderAnswerFile.make("sub-1", [said], [])
    >>> taken_back = said.model_copy(update={"answer": None, "id": "ses-1_T1w..ses-2_T1w@2,2,3"})
    >>> merge_answers(kept, ReaderAnswerFile.make("sub-1", [taken_back], [])).findings
    ()
    """

    format: Literal[1]
    kind: Literal["siamese-med answers"]
    subject: Annotated[str, Field(strict=True, pattern=r"^sub-[A-Za-z0-9]{1,100}$")]
    findings: Annotated[tuple[AnsweredFinding, ...], Field(max_length=MAX_ANSWERS)]
    scans: Annotated[tuple[RatedScan, ...], Field(max_length=MAX_ANSWERS)]

    @classmethod
    def make(cls, subject: str, findings: Iterable[AnsweredFinding], scans: Iterable[RatedScan]) -> Self:
        """Make a file, with its entries in the order of their ids."""
        ordered = (tuple(sorted(entries, key=lambda one: one.id)) for entries in (findings, scans))
        return cls(format=1, kind="siamese-med answers", subject=subject, findings=next(ordered), scans=next(ordered))

    @model_validator(mode="after")
    def check_ids(self) -> Self:
        """Check that nothing is answered twice."""
        for entries in (self.findings, self.scans):
            if len({one.id for one in entries}) < len(entries):
                raise ValueError("an id stands there twice")
        return self


def read_answer_file(path: Path) -> ReaderAnswerFile:
    """Read a file of answers without trust.

    Raises
    ------
    MissingFileError
        It is not there, or no file.
    InputError
        It is no file that a page saved. The message quotes nothing of it.
    """
    if not path.is_file():
        raise MissingFileError("there is no such file of answers: give the file that a patient's page saved")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("too large")
        return ReaderAnswerFile.model_validate(untrusted_input.read_untrusted_json(path))
    except (OSError, ValueError) as error:
        flaw = _describe_flaw(error) if isinstance(error, ValidationError) else "no JSON, or over 1 MB"
        raise InputError(
            f"this is no file of answers that this version can read ({flaw}): save it once more on the patient's page"
        ) from None


def _describe_flaw(error: ValidationError) -> str:
    """Describe where the first flaw is, without a value."""
    place = ".".join(str(step) for step in error.errors()[0]["loc"] if untrusted_input.is_safe_name(str(step)))
    known = (*ReaderAnswerFile.model_fields, *AnsweredFinding.model_fields, *RatedScan.model_fields)
    told = ".".join(step for step in place.split(".") if step.isdigit() or step in known)
    return f"at {told}" if told else "as a whole"


def read_stored_answers(data: Path, subject: str) -> ReaderAnswerFile | None:
    """Read what a study keeps of a patient in its data folder; None where nobody has answered.

    Raises
    ------
    InputError
        The file was changed from outside and cannot be read.
    """
    path = data / ANSWERS_FOLDER / f"{subject}.json"
    if not path.is_file():
        return None
    try:
        return read_answer_file(path)
    except InputError:
        found = f"{ANSWERS_FOLDER}/{path.name}"
        raise InputError(f"what readers answered ({found}) cannot be read: remove it from --data") from None


def merge_answers(kept: ReaderAnswerFile | None, new: ReaderAnswerFile) -> ReaderAnswerFile:
    """Return what is kept from now on: the new answers, and the old ones to what the new file does not list."""
    old_findings = {one.id: one for one in kept.findings} if kept else {}
    old_scans = {one.id: one for one in kept.scans} if kept else {}
    replaced = {one.id for one in match_answers([one.id for one in new.findings], old_findings).values()}
    findings = {key: one for key, one in old_findings.items() if key not in replaced}
    findings |= {one.id: one for one in new.findings}
    scans = old_scans | {one.id: one for one in new.scans}
    return ReaderAnswerFile.make(
        new.subject,
        (one for one in findings.values() if not one.empty),
        (one for one in scans.values() if not one.empty),
    )


def match_answers(ids: Iterable[str], answers: Mapping[str, AnsweredFinding]) -> dict[str, AnsweredFinding]:
    """Find the answer to each finding: by its id, else by its pair and place.

    Examples
    --------
    >>> said = AnsweredFinding(id="ses-1_T1w..ses-2_T1w@1,2,3", answer="confirmed", remark="")
    >>> list(match_answers(["ses-1_T1w..ses-2_T1w@2,2,3", "ses-1_T1w..ses-2_T1w@9,2,3"], {said.id: said}))
    ['ses-1_T1w..ses-2_T1w@2,2,3']
    """
    wanted = list(ids)
    found = {one: answers[one] for one in wanted if one in answers}
    left = {key: one for key, one in answers.items() if key not in found}
    for one in (one for one in wanted if one not in found):
        near = min(left, key=lambda key, one=one: _distance_mm(one, key), default=None)  # type: ignore[misc]
        if near is not None and _distance_mm(one, near) <= SAME_PLACE_MM:
            found[one] = left.pop(near)
    return found


def _distance_mm(one: str, other: str) -> float:
    """Between two parts of one pair; infinite for anything else."""
    places = [PART_ID.fullmatch(one), PART_ID.fullmatch(other)]
    if not (places[0] and places[1]) or places[0]["pair"] != places[1]["pair"]:
        return math.inf
    return math.dist(*([float(place[axis]) for axis in "xyz"] for place in places if place))


def write_stored_answers(data: Path, answers: ReaderAnswerFile) -> None:
    """Write what the study keeps of a patient into its data folder."""
    files.write_json_file(data / ANSWERS_FOLDER / f"{answers.subject}.json", answers.model_dump(mode="json"))
