"""Statements of an input about a file before the file itself is read: patient, date, contrast, scanner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from siamese_med.ingestion import contrast, contrast_finding, machine_errors, series_contrast
from siamese_med.ingestion.contrast_finding import ContrastFinding
from siamese_med.ingestion.date_traits import FOLDER, HEADER, TABLE, list_date_traits
from siamese_med.ingestion.dicom.person_traits import PersonTraits
from siamese_med.ingestion.inputs import bids_metadata, time_limits
from siamese_med.ingestion.inputs.bids_datasets import BidsDataset
from siamese_med.ingestion.inputs.bids_labels import BidsLabels
from siamese_med.ingestion.inputs.bids_tables import BidsTree
from siamese_med.ingestion.inputs.dated_folders import DatedFolder, find_folder_date, find_folder_visit
from siamese_med.study.vocabulary import ContrastSource, ScanFlag

MaskFile = tuple[str, int, int]
"""A mask: its path, size and time of change (ns). A changed mask makes another claim."""
NO_LABELS = BidsLabels()
"""Labels of a path that has none."""

INPUT_SPACE_PREFIX = "input-"
"""How the name spaces of inputs begin, see `input_namespaces`."""


@dataclass(frozen=True)
class InputClaim:
    """Statements of the input about a file, without reading it. They go into pseudonyms and are never written."""

    kind: str  # manifest, bids, folder or name; all but the first with the name space of dataset or input, if any
    subject: str
    session: str = ""
    date: date | None = None
    changed: int | None = None
    contrast: str = "unknown"
    modality: str = "unknown"
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    mask: MaskFile | None = None
    contrast_source: ContrastSource = ContrastSource.NONE
    contrast_confidence: float | None = None
    lesions: MaskFile | None = None
    person: PersonTraits = ()
    difference: MaskFile | None = None
    since: str = ""  # the visit that `difference` compares with; empty for the one before
    date_traits: PersonTraits = ()  # where the date is from, no part of the claim's key

    @property
    def said_contrast(self) -> str:
        """The contrast that a manifest says; empty where it says none."""
        return self.contrast if self.contrast_source == ContrastSource.SAID else ""

    @property
    def given(self) -> bool:
        """Whether a manifest or a BIDS label names the subject; a bare file name is only a guess."""
        return bool(self.subject) and not self.by_place

    @property
    def in_bids(self) -> bool:
        """Whether the subject comes from a BIDS label, of any dataset.

        Examples
        --------
        >>> InputClaim("bids Aging study", "01").in_bids, InputClaim("manifest", "01").in_bids
        (True, False)
        """
        return self.kind.partition(" ")[0] == "bids"

    @property
    def by_folder(self) -> bool:
        """Whether the folder above a date names the subject, see `dated_folders`."""
        return self.kind.partition(" ")[0] == "folder"

    @property
    def by_place(self) -> bool:
        """Whether only the file's path tells its subject from others.

        True where neither a manifest nor a BIDS label names the subject.
        """
        return self.kind.partition(" ")[0] == "name"


@dataclass(slots=True)
class InputPath:
    """One path of the input.

    `reason` is a reason word where the name alone decides, `listed` tells whether a manifest's row names the file, and
    `lesions` is a mask that its BIDS dataset has for it; `several_masks`: more than one fits it. `visit_unclear`: it
    may be of another visit than an image of its name in another folder. `input_space` tells its place from an equal one
    in another input. The claim is worked out on demand, since DICOM files name their patient themselves.
    """

    path: Path
    claimed: Callable[[InputPath], InputClaim]
    reason: str = ""
    listed: bool = False
    labels: BidsLabels = NO_LABELS
    data_set: BidsDataset | None = None
    dated: DatedFolder | None = None
    lesions: Path | None = None
    trouble: str = ""
    visit_unclear: bool = False
    several_masks: bool = False
    input_space: str = ""
    _claim: InputClaim | None = None

    def kind(self, word: str) -> str:
        """Return the word of a claim's kind, with the name space of the dataset, or of the input where it has no Name.

        Examples
        --------
        >>> InputPath(Path("T1.nii.gz"), lambda _: InputClaim("", ""), input_space="input-b").kind("name")
        'name input-b'
        """
        if self.data_set and (self.data_set.space or self.data_set.name):
            return self.data_set.kind(word)
        return f"{word} {self.input_space}" if self.input_space else word

    @property
    def claim(self) -> InputClaim:
        """Return what the input states about the file.

        It is only the file's place, and `trouble` is a reason word, where the side-cars cannot be read now.
        """
        if self._claim is None:
            self._claim = self._asked()
        return self._claim

    def _asked(self) -> InputClaim:
        try:
            return time_limits.call_with_time_limit(self.claimed, self)
        except OSError as error:
            self.trouble = machine_errors.find_machine_error_reason(error) or "unreadable_file"
            return InputClaim(self.kind("name"), str(self.path))

    def claimed_in(self, space: str) -> InputClaim:
        """Return the claim that the file would have if its dataset had this name space.

        Used to find out under which name space an earlier run ingested the file. The stored claim does not change.
        """
        claim = self._asked()
        return replace(claim, kind=f"{claim.kind.partition(' ')[0]} {space}".strip())

    def forget_claim(self) -> None:
        """Discard the claim, so that it is worked out again after its dataset's name space changed."""
        self._claim = None


def stat_mask(path: Path | None) -> MaskFile | None:
    """Return path, size and modification time (ns) of a mask; None where there is none, or it is gone."""
    if path is None:
        return None
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def claim_by_place(found: InputPath, root: Path) -> InputClaim:
    """Make a claim from the file's place below `root` alone.

    Used where nothing names the subject: the path without image endings stands for a patient, so that equal names in
    two folders never merge two patients. `root` itself, where it cannot be listed, has the place `.`.
    """
    place = found.path.relative_to(root)
    named = str(place.with_name(bids_metadata.get_image_stem(found.path)) if place.name else place)
    return InputClaim(found.kind("name"), named)


def claim_by_name(found: InputPath, root: Path, tree: BidsTree | None = None) -> InputClaim:
    """Make a claim from a file's name, its folders and its side-cars.

    Parameters
    ----------
    found
        The file with its BIDS labels, or patient and date of plain folders. Without either its place stands for the
        patient, see `claim_by_place`. A folder that is called by a date dates the files of a named patient, and one
        that is called by a visit, such as `baseline`, tells the visits apart.
    root
        Folder that places are relative to.
    tree
        The BIDS dataset whose tables may have the date.

    Raises
    ------
    OSError
        A side-car or table cannot be read now.
    """
    labels, stem = found.labels, bids_metadata.get_image_stem(found.path)
    kind, subject, session, folder_day = _claim_person(found, root)
    sidecar = bids_metadata.read_sidecar(found.path, stem)
    days = (TABLE, tree.date(found.path, labels) if tree else None), (HEADER, sidecar.date), (FOLDER, folder_day)
    acquired = next((day for _, day in days if day), None)
    said = sidecar.contrast, sidecar.agent, sidecar.times_ms, sidecar.sequence
    told = contrast_finding.find_nifti_contrast(found.path, stem, *said)
    flags = _add_agent_flag(_add_fat_flag(sidecar, told.contrast, stem), told.contrast, sidecar.agent, stem)
    if found.visit_unclear and not (session or acquired):
        flags = (*flags, ScanFlag.VISIT_UNCLEAR)
    if found.several_masks:
        flags = (*flags, ScanFlag.LESIONS_UNUSED)
    if contrast.is_phase_name(stem) or sidecar.phase:
        told = ContrastFinding(contrast.PHASE, ContrastSource.NAME)
        flags = (*flags, ScanFlag.PHASE)
    modality = sidecar.modality or contrast_finding.determine_modality_of_contrast(told.contrast)
    return InputClaim(
        kind, subject, session, acquired, None, told.contrast, modality, sidecar.scanner, sidecar.protocol,
        flags, contrast_source=told.source, contrast_confidence=told.confidence, lesions=stat_mask(found.lesions),
        person=sidecar.person, date_traits=list_date_traits(days),
    )  # fmt: skip


def _claim_person(found: InputPath, root: Path) -> tuple[str, str, str, date | None]:
    """Return what is claimed of a file by its labels, folders or place: kind, subject, session, and day."""
    folders = found.path.relative_to(root).parts[:-1]
    if found.labels.subject:
        inner = _list_folders_of_patient(folders, found.labels)
        session = found.labels.session or find_folder_visit(inner)
        return found.kind("bids"), found.labels.subject, session, find_folder_date(inner)
    if found.dated:
        return found.kind("folder"), found.dated.patient, found.dated.visit, find_folder_date(folders)
    place = claim_by_place(found, root)
    return place.kind, place.subject, found.labels.session, None


def _list_folders_of_patient(folders: tuple[str, ...], labels: BidsLabels) -> tuple[str, ...]:
    """List the folders that may be those of a visit: below that of the patient, since one above is of an export.

    Without a folder of the patient all may be, unless the file's name has a session.
    """
    own = [number for number, folder in enumerate(folders) if folder.casefold().startswith("sub-")]
    if own:
        return folders[own[-1] + 1 :]
    return () if labels.session else folders


def _add_fat_flag(sidecar: bids_metadata.Sidecar, contrast_word: str, stem: str) -> tuple[str, ...]:
    """The flags of a side-car, and that fat is suppressed where it or the name says so of a weighting."""
    told = contrast_word in series_contrast.WEIGHTINGS and ScanFlag.FAT_SUPPRESSED not in sidecar.flags
    suppressed = told and (sidecar.fat_suppressed or series_contrast.suppresses_fat(contrast_word, stem))
    return (*sidecar.flags, ScanFlag.FAT_SUPPRESSED) if suppressed else sidecar.flags


def _add_agent_flag(flags: tuple[str, ...], contrast_word: str, named: bool, stem: str) -> tuple[str, ...]:
    """The flags, and that an agent was given where side-car or name say so of an MR that is not called after it."""
    if contrast_word == contrast.ENHANCED_T1 or contrast_finding.determine_modality_of_contrast(contrast_word) != "MR":
        return flags
    given = named or contrast.is_enhanced_name(stem)
    return (*flags, ScanFlag.AGENT_GIVEN) if given and ScanFlag.AGENT_GIVEN not in flags else flags
