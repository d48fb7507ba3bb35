"""What decides that a pair is not comparable: every rule, in the order in which it is asked, and every limit.

The words and what they mean to a user are those of `study.vocabulary.NotComparable`.

=============================  ==================  ===========================================================
Reason                         Asked               Limit
=============================  ==================  ===========================================================
`other_modality`               before measuring    none
`other_contrast`               before measuring    none; an unknown contrast counts as that of the other scan
`alignment_failed`             before measuring    `prepare.min_quality` and coverage, see `prepared.PreparedScan.ok`
`contrast_not_in_reference`    before measuring    the model has no pairs without change of this stratum
`pair_alignment_failed`        after measuring     `score.min_pair_quality`, a correlation ratio, 0 to 1
`little_overlap`               after measuring     `score.min_overlap`, a share of the body, 0 to 1
`outside_reference`            after measuring     MAX_NOISE_RATIO times the noisiest reference pair
=============================  ==================  ===========================================================

Of two patients no change is asked for, so only `alignment_failed` applies (`reasons_of_alignment`).
"""

from __future__ import annotations

from typing import Protocol

from siamese_med.study.config import ScoreConfig
from siamese_med.study.thresholds import MAX_NOISE_RATIO
from siamese_med.study.vocabulary import UNKNOWN, NotComparable


class ComparedScan(Protocol):
    """What decides, before anything is measured, whether a scan can be compared."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...
    @property
    def aligned(self) -> bool: ...


def reasons_before_measuring(earlier: ComparedScan, later: ComparedScan) -> tuple[NotComparable, ...]:
    """Return why two scans of one patient cannot be compared, as far as their headers and alignments tell."""
    found = []
    if earlier.modality != later.modality:
        found.append(NotComparable.OTHER_MODALITY)
    elif earlier.contrast != later.contrast and UNKNOWN not in (earlier.contrast, later.contrast):
        found.append(NotComparable.OTHER_CONTRAST)
    return (*found, *reasons_of_alignment(earlier.aligned, later.aligned))


def reasons_of_reference(*references: object | None) -> tuple[NotComparable, ...]:
    """Return why a pair cannot be judged where the model knows no pairs without change that are like it.

    Parameters
    ----------
    references
        What the pair is held against in its stratum (modality, contrast, and same or other scanner), of brightness and
        of local growth; None where the model was calibrated on no such pairs.
    """
    return (NotComparable.CONTRAST_NOT_IN_REFERENCE,) if any(one is None for one in references) else ()


def reasons_after_measuring(
    quality: float, overlap: float, noise: float, noise_max: float, config: ScoreConfig
) -> tuple[NotComparable, ...]:
    """Return why a measured pair of one patient gets no verdict.

    Parameters
    ----------
    quality
        Correlation ratio of the two scans after pair registration, 0 to 1.
    overlap
        Share of the template's body that both scans show, 0 to 1.
    noise
        Robust standard deviation of the difference of the two scans, in units of bright tissue.
    noise_max
        The same of the noisiest pair of the reference.
    config
        Holds the study's own limits.
    """
    limits = {
        NotComparable.PAIR_ALIGNMENT_FAILED: quality < config.min_pair_quality,
        NotComparable.LITTLE_OVERLAP: overlap < config.min_overlap,
        NotComparable.OUTSIDE_REFERENCE: noise > MAX_NOISE_RATIO * noise_max,
    }
    return tuple(reason for reason, applies in limits.items() if applies)


def reasons_of_alignment(*aligned: bool) -> tuple[NotComparable, ...]:
    """Return why scans cannot be compared where not all of them could be aligned to the template.

    For pairs of two patients, and for `identify`, this alone is asked.

    Examples
    --------
    >>> [str(reason) for reason in reasons_of_alignment(True, False)]
    ['alignment_failed']
    """
    return () if all(aligned) else (NotComparable.ALIGNMENT_FAILED,)
