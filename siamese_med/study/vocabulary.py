"""The closed vocabularies of tables, JSON files and pages.

Every member is a `str` and is written as its word, in Parquet, JSON, TSV and HTML alike.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

UNKNOWN = "unknown"
"""Word for a modality, contrast, scanner or protocol that the input does not tell."""


class Word(StrEnum):
    """One word of a closed vocabulary."""

    @classmethod
    def find_member(cls, word: str) -> Self | None:
        """Return the member that is written as `word`, or None.

        Examples
        --------
        >>> Verdict.find_member("changed") is Verdict.CHANGED, Verdict.find_member("perhaps")
        (True, None)
        """
        return next((member for member in cls if member == word), None)


class ExplainedWord(Word):
    """A word with the sentence that explains it to a user.

    Examples
    --------
    >>> NotComparable.LITTLE_OVERLAP.explanation
    'the two scans share too little of the body'
    >>> f"{NotComparable.LITTLE_OVERLAP}"
    'little_overlap'
    """

    explanation: str

    def __new__(cls, word: str, explanation: str) -> ExplainedWord:
        """Make the member `word`, explained by `explanation`."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.explanation = explanation
        return member


class PairKind(Word):
    """Kind of a pair, known before it is scored: whose scans they are, and whether change is expected."""

    RESCAN = "rescan"
    """One patient, no change expected: a few days apart, or labelled as unchanged."""
    FOLLOW_UP = "follow_up"
    """One patient, not known whether anything changed."""
    CHANGED = "changed"
    """One patient, labelled as changed."""
    DIFFERENT = "different"
    """Two patients."""
    DIFFERENT_HARD = "different_hard"
    """Two patients, scanned with the same scanner and protocol."""


SAME_PATIENT = (PairKind.RESCAN, PairKind.FOLLOW_UP, PairKind.CHANGED)
"""The kinds of pairs that show one patient."""


class Split(Word):
    """Role of a patient for a model."""

    TRAIN = "train"
    """The network learns from this patient."""
    VALIDATION = "validation"
    """Training stops and scores are calibrated by this patient."""
    TEST = "test"
    """Looked at once, to measure the finished model."""
    NEW = "new"
    """In score tables only: the model, made elsewhere, has learned from neither scan."""


SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
"""The splits that `pair` divides the patients into."""


class Verdict(Word):
    """Verdict on change in a pair of one patient."""

    CHANGED = "changed"
    """The adjusted p is below the significance."""
    UNCERTAIN = "uncertain"
    """It is not, but the largest change that was tried (`thresholds.LARGEST_TESTED_ML`) might have been missed too."""
    NO_CHANGE = "no_change"
    """It is not, and a change of `smallest_detectable_ml` would have been seen. Smaller ones may have been missed."""
    NOT_COMPARABLE = "not_comparable"
    """No verdict, for one or more of the reasons in `NotComparable`."""


class NotComparable(ExplainedWord):
    """Reason why a pair gets no verdict; `scoring.change.comparability` decides which."""

    OTHER_MODALITY = "other_modality", "the two scans are of different modality"
    OTHER_CONTRAST = "other_contrast", "the two scans are of different contrast"
    ALIGNMENT_FAILED = "alignment_failed", "a scan could not be aligned to the template"
    PAIR_ALIGNMENT_FAILED = "pair_alignment_failed", "the two scans could not be aligned to each other"
    LITTLE_OVERLAP = "little_overlap", "the two scans share too little of the body"
    OUTSIDE_REFERENCE = "outside_reference", "the pair is much noisier than unchanged pairs and its own rescans"


class GuidelineName(Word):
    """The guidelines for publications that `siamese-med checklist` fills in."""

    CLAIM = "claim"
    """Checklist for Artificial Intelligence in Medical Imaging, update of 2024."""
    TRIPOD_AI = "tripod-ai"
    """Transparent reporting of prediction models, with the extension for machine learning, of 2024."""


def explain_reason(word: str) -> str:
    """Return what a reason for no verdict means; an unknown word is returned as plain words.

    Examples
    --------
    >>> explain_reason("little_overlap")
    'the two scans share too little of the body'
    """
    known = NotComparable.find_member(word)
    return known.explanation if known else word.replace("_", " ")


class ComponentKind(Word):
    """Kind of change of one part of the change map. The first four are said of bright tissue alone."""

    NEW = "new"
    ENLARGING = "enlarging"
    SHRINKING = "shrinking"
    VANISHED = "vanished"
    BRIGHTER = "brighter"
    DARKER = "darker"
    MAY_BE_CHANCE = "may_be_chance"  # no stronger than the strongest place of a rescan

    @property
    def reversed(self) -> ComponentKind:
        """The kind if the two scans were swapped, such as `vanished` for `new`."""
        return _REVERSED.get(self, self)


class LesionFate(ExplainedWord):
    """Fate of a lesion since the date before on which it was marked, or on which it could have been."""

    FIRST = "first", "there on the first date whose scan shows its place"
    NEW = "new", "not there on the date before that shows its place"
    ENLARGING = "enlarging", "larger than on the date before, by more than the error of both volumes"
    STABLE = "stable", "as large as on the date before, within the error of both volumes"
    SHRINKING = "shrinking", "smaller than on the date before, by more than the error of both volumes"
    VANISHED = "vanished", "there on the date before, and not any more"
    RETURNED = "returned", "there again, at the place of a lesion that had vanished or merged"
    MERGED = "merged", "grown together with another lesion, which goes on"
    SPLIT = "split", "came off another lesion"
    NOT_SHOWN = "not_shown", "the scan does not show its place, so nothing is known of it"
    TOTAL = "total", "all that is marked on the scan, also what is too small to be followed"
    REPEAT = "repeat", "all that is marked on a scan that is not followed: another one of its visit is"
    UNPLACED = "unplaced", "the scan could not be registered to the others, so its lesions are not told apart"


_REVERSED = {
    ComponentKind.NEW: ComponentKind.VANISHED,
    ComponentKind.ENLARGING: ComponentKind.SHRINKING,
    ComponentKind.BRIGHTER: ComponentKind.DARKER,
}
_REVERSED |= {later: earlier for earlier, later in _REVERSED.items()}


class FindingAnswer(Word):
    """Answer of a reader to a finding on a page."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class ScanQuality(Word):
    """Quality of a scan, as a reader sees it."""

    GOOD = "good"
    USABLE = "usable"
    POOR = "poor"


class PairRole(Word):
    """Roles of pairs in their patient's time line, in the order in which a page shows them."""

    NEWEST = "newest"  # the newest visit against the one before
    SINCE_FIRST = "since_first"  # the newest visit against the first
    STEP = "step"  # an older visit against the one before
    OTHER = "other"


class PatientStatus(Word):
    """Status of a patient on a page, beside the verdicts."""

    WRONG_PATIENT = "wrong_patient"
    """A scan seems to be another patient's."""
    CLAIMED = "claimed"
    """Another patient's scan seems to be this patient's."""
    ONE_VISIT = "one_visit"
    """There is no pair to compare yet."""


class NullSource(Word):
    """Source of pairs without change."""

    RESCANS = "rescans"
    """Real rescans of the study."""
    SYNTHESISED = "synthesised"
    """One anatomy under two simulated acquisitions."""
    OWN = "own"
    """Simulated acquisitions of the pair's own two scans, where the model has no pairs like this one."""


class ScanSource(Word):
    """Kind of file that a scan was read from."""

    DICOM = "dicom"
    NIFTI = "nifti"


class ContrastSource(ExplainedWord):
    """Source from which the contrast of a scan is known."""

    SAID = "said", "the manifest's `contrast` column says it"
    HEADER = "header", "from the DICOM header or the JSON beside the NIfTI file"
    NAME = "name", "from the name of the file or of its folders"
    IMAGE = "image", "from the image itself; the confidence says how surely"
    NONE = "none", "nothing tells it"


class ScanFlag(ExplainedWord):
    """A word on a scan that was ingested and that somebody should look at."""

    DATE_UNKNOWN = "date_unknown", "no valid date; the scan is left out of intervals"
    DATE_CONFLICT = (
        "date_conflict",
        "its date contradicts others of its patient or visit, or is from another source; there is no interval: correct "
        "the dates or the session, or give all dates in a manifest",
    )
    SHARED_DAY = "shared_day", "visits of several patients have this date, maybe by an anonymiser; no rescans"
    INVERTED = "inverted", "MONOCHROME1: low values mean bright; voxels are kept as measured"
    RESCALE_VARIES = "rescale_varies", "slope and intercept differ between slices; they were applied slice by slice"
    DEFACED = "defaced", "the face and the ears were removed, where the scan showed any"
    BURNED_IN = (
        "burned_in",
        "text may be burned into the pixels, by the header or by bright strokes in a corner; look before you share",
    )
    LOSSY = "lossy", "the pixels went through lossy compression"
    PHASE = "phase", "a phase image, not a magnitude"
    FAT_SUPPRESSED = "fat_suppressed", "fat is dark in it; it is paired with such scans where there are any"
    AGENT_GIVEN = "agent_given", "a contrast agent was given; it is no rescan of one without, nor of one of its day"
    REFORMATTED = "reformatted", "worked out from another series, as a plane of it; it is no rescan of one of its day"
    NAN_COUNT = "nan_count", "some voxels were no number; they were counted and set to zero"
    UNITS_CONVERTED = "units_converted", "the header was in metres or micrometres; it was converted to millimetres"
    FIRST_OF_REPEATS = "first_of_repeats", "one volume taken from several"
    MEAN_OF_REPEATS = "mean_of_repeats", "the mean of several volumes"
    MASK_UNUSED = "mask_unused", "its mask is no sound NIfTI on the scan's grid or marks nothing; it was left out"
    MASK_UNREAD = "mask_unread", "its mask could not be read this time; the next run tries again"
    LESIONS_UNUSED = (
        "lesions_unused",
        "the mask of its lesions does not fit the scan, is broken, or is one of several segmentations; it was left out",
    )
    LESIONS_UNREAD = "lesions_unread", "the mask of its lesions could not be read this time; the next run tries again"
    DIFFERENCE_UNUSED = "difference_unused", "the mask of what changed does not fit, or is since an unknown visit"
    DIFFERENCE_UNREAD = "difference_unread", "the mask of what changed could not be read this time; it is tried again"
    WRONG_PATIENT = "wrong_patient", "looks like another patient's scan; check the records, nothing was moved"
    IDENTITY_CONFLICT = (
        "identity_conflict",
        "headers of this patient's scans contradict one another in sex, birth date, height or name; none is paired",
    )
    IMPLAUSIBLE_SIZE = "implausible_size", "no body is so large or so small; check voxel size and unit in the header"
    EMPTY_SLICES = (
        "empty_slices",
        "slices between others, or many at one end, hold one value only; check whether the series came whole",
    )
    INCOMPLETE_SERIES = (
        "incomplete_series",
        "the header states more slices than there are, by numbers, spacing or count; look whether all came",
    )
    SHORTER_SCAN = (
        "shorter_scan",
        "another scan of the patient with the same matrix and spacing has far more slices; look whether all came",
    )
    PATIENT_UNNAMED = (
        "patient_unnamed",
        "nothing names the patient, so the file's place stands for a patient of its own; name subjects in a manifest "
        "or by BIDS names",
    )
    VISIT_UNCLEAR = (
        "visit_unclear",
        "images of one name lie in several folders of the patient, and nothing tells whether these are visits; name "
        "sessions by folders ses-, or in a manifest",
    )
    PATIENT_FROM_FOLDER = (
        "patient_from_folder",
        "the folder above the date was taken for the patient; if it is none, name subjects in a manifest",
    )
    PLACEHOLDER_ID = (
        "placeholder_id",
        "the PatientID is a word that stands for nobody, such as ANONYMOUS or 0, so it may be several people; it is "
        "not paired: name the patients in a manifest",
    )
    UNPROVEN_ID = (
        "unproven_id",
        "all DICOM scans, of several visits, have one PatientID, or two institutions gave it, and the headers share no "
        "birth date, and not sex and height; if they are of several people, name them in a manifest",
    )
    SIMILAR_ID = (
        "similar_id",
        "another patient's identifier differs in writing, issuer or a visit at its end alone, is named as a former "
        "one, or has the same name, birth date and sex; if both are one person, name one subject for both in a "
        "manifest",
    )
    COPIED_SCAN = (
        "copied_scan",
        "its voxels are those of a scan of another patient or visit, so one acquisition came under two names; find out "
        "which is right",
    )
    JOINED_SERIES = (
        "joined_series",
        "made of several series, which an export split: places, numbers and all tags say that they are one acquisition",
    )
    SPLIT_VOLUME = (
        "split_volume",
        "a part of a volume whose other slices are another scan; it is not paired: export the volume as one series",
    )


MASK_FLAGS = (
    ScanFlag.MASK_UNUSED, ScanFlag.MASK_UNREAD, ScanFlag.LESIONS_UNUSED, ScanFlag.LESIONS_UNREAD,
    ScanFlag.DIFFERENCE_UNUSED, ScanFlag.DIFFERENCE_UNREAD,
)  # fmt: skip
"""Flags on the masks that came with a scan."""
DERIVED_FLAGS = (
    ScanFlag.WRONG_PATIENT, ScanFlag.IDENTITY_CONFLICT, ScanFlag.UNPROVEN_ID, ScanFlag.SIMILAR_ID,
    ScanFlag.COPIED_SCAN, ScanFlag.SPLIT_VOLUME, ScanFlag.SHORTER_SCAN, ScanFlag.DATE_CONFLICT,
)  # fmt: skip
"""Flags that follow from other scans, and are determined again whenever scans are read."""

UNPAIRED_FLAGS = frozenset(map(str, (ScanFlag.IDENTITY_CONFLICT, ScanFlag.PLACEHOLDER_ID, ScanFlag.SPLIT_VOLUME)))
"""Scans with one of these flags are in no pair."""
