"""Decide whether a pair is comparable: every rule, in the order in which it is applied, and every limit.

=============================  ==========================  ==================================================
Reason                         Function                    Applies if
=============================  ==========================  ==================================================
`other_modality`               `reasons_before_measuring`  the modalities differ; `unknown` differs from none
`other_contrast`               `reasons_before_measuring`  the contrasts differ; `unknown` differs from none
`alignment_failed`             `reasons_of_alignment`      two patients only: quality of the alignment to the
                                                           template < `prepare.min_quality`, or too little coverage
`pair_alignment_failed`        `reasons_after_measuring`   quality of the pair's pose < `score.min_pose_quality`
`little_overlap`               `reasons_after_measuring`   overlap of the pair < `score.min_overlap`
`outside_reference`            `reasons_after_measuring`   noise of the pair > MAX_NOISE_RATIO x the noisiest
                                                           unchanged pair's, also of rescans that are simulated from
                                                           the pair's own scans
=============================  ==========================  ==================================================

`pair_scoring.score_pair` applies them in two groups: headers, then the measurement. A pair gets every reason of the
first group that has one, and is measured only if the headers give none. A pair of one
patient that has a reason gets the verdict `not_comparable`. The two scans are registered to each other, so it does not
matter whether they could be aligned to the template. Between two patients no change is measured and no verdict given:
`comparable` is false only for `reasons_of_alignment`, and so it is in `identify`.

Where the values come from: `aligned`, `preparation.aligned_volumes.is_alignment_usable`; quality and overlap,
`pair_registration.register_pair`; noise, `change_map.summarise_map`. `study.vocabulary.NotComparable` explains each
reason to the user, `study.thresholds` holds MAX_NOISE_RATIO, and docs/configuration.md the settings.
"""

from __future__ import annotations

from typing import Protocol

from siamese_med.study.config import ScoreConfig
from siamese_med.study.thresholds import MAX_NOISE_RATIO
from siamese_med.study.vocabulary import UNKNOWN, NotComparable


class ComparedScan(Protocol):
    """Facts about a scan that decide, before anything is measured, whether it can be compared."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...


def reasons_before_measuring(earlier: ComparedScan, later: ComparedScan) -> tuple[NotComparable, ...]:
    """Return the reasons that headers give against comparing two scans of one patient.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> flair = SimpleNamespace(modality="MR", contrast="FLAIR")
    >>> t1 = SimpleNamespace(modality="MR", contrast="T1w")
    >>> [str(reason) for reason in reasons_before_measuring(flair, t1)]
    ['other_contrast']
    >>> reasons_before_measuring(flair, SimpleNamespace(modality="MR", contrast="unknown"))
    ()
    """
    found = []
    if earlier.modality != later.modality and UNKNOWN not in (earlier.modality, later.modality):
        found.append(NotComparable.OTHER_MODALITY)
    elif earlier.contrast != later.contrast and UNKNOWN not in (earlier.contrast, later.contrast):
        found.append(NotComparable.OTHER_CONTRAST)
    return tuple(found)


def reasons_of_alignment(*aligned: bool) -> tuple[NotComparable, ...]:
    """Return `alignment_failed` unless all scans could be aligned to the template.

    Examples
    --------
    >>> [str(reason) for reason in reasons_of_alignment(True, False)]
    ['alignment_failed']
    """
    return () if all(aligned) else (NotComparable.ALIGNMENT_FAILED,)


def is_noisier(noise: float, noise_max: float) -> bool:
    """Tell whether a pair is so much noisier than the noisiest unchanged pair that it cannot be compared with them.

    Examples
    --------
    >>> is_noisier(0.05, noise_max=0.02)
    True
    """
    return noise > MAX_NOISE_RATIO * noise_max


def reasons_after_measuring(
    quality: float, overlap: float, noise: float, noise_max: float, config: ScoreConfig
) -> tuple[NotComparable, ...]:
    """Return the reasons why a measured pair of one patient gets no verdict.

    Parameters
    ----------
    quality
        How distinct the pose of the two scans is, 0 to 1, see `symmetric_registration.ScanPairPose`.
    overlap
        Share of the brain, or of the body, that both scans show, 0 to 1.
    noise
        Robust standard deviation of the difference of the two scans, in units of bright tissue.
    noise_max
        The same of the noisiest unchanged pair of the reference.
    config
        Holds `min_pose_quality` and `min_overlap` of the study.

    Examples
    --------
    >>> [str(reason) for reason in reasons_after_measuring(0.9, 0.4, 0.02, 0.05, ScoreConfig(min_overlap=0.6))]
    ['little_overlap']
    """
    limits = {
        NotComparable.PAIR_ALIGNMENT_FAILED: quality < config.min_pose_quality,
        NotComparable.LITTLE_OVERLAP: overlap < config.min_overlap,
        NotComparable.OUTSIDE_REFERENCE: is_noisier(noise, noise_max),
    }
    return tuple(reason for reason, applies in limits.items() if applies)
