"""Every fixed limit that decides what a user is told about a pair, a patient or a part of a change map.

Limits that a study may choose are settings instead (docs/configuration.md): `score.significance`, `score.min_overlap`,
`score.min_pose_quality`, `score.false_match_rate` and `prepare.min_quality`.
"Our choice" means that no source prescribes the value.
"""

from __future__ import annotations

import math

# What a scan is: see ingestion.image_contrast

MIN_CONTRAST_CONFIDENCE = 0.9
"""A contrast that the image tells with less confidence than this is not taken; the scan's contrast stays unknown.

A wrong contrast lets two scans be compared that must not be; an unknown one only says less. Unit: probability, 0 to 1.
Source: our choice.
"""

# Whether a pair is comparable: see change.comparability

MAX_NOISE_RATIO = 2.0
"""A pair with more than this many times the noise of the noisiest reference pair is outside the reference.

Unit: ratio of two robust standard deviations. Source: our choice.
"""

MIN_COVERAGE_FRACTION = 0.5
"""A scan with less than this share of the template's body in its field of view is not aligned.

Unit: share of voxels, 0 to 1. Source: our choice.
"""

DOUBTFUL_HEAD_QUALITY, DOUBTFUL_HEAD_OVERLAP = 0.1, 0.87
"""A head does not lie right on the template of heads if its pose is less distinct and its brain overlaps less.

Unit: as MIN_HEAD_QUALITY. Source: of 88 real scans 87 are over both limits (.143 and .896 at least); the other,
.081 and .850, is scaled wrong (`python -m benchmarks.head_template`).
"""
MIN_HEAD_QUALITY, MIN_BRAIN_OVERLAP = 0.05, 0.75
"""A scan shows a head if its pose on the template of heads is this distinct, and its brain overlaps the template's by
this much.

Unit: loss of correlation ratio (`imaging.symmetric_registration`), and Dice; both 0 to 1. Source: real scans, see
`python -m benchmarks.head_template`.
"""

# The change map

MIN_CHANGE_PROBABILITY = 0.95
"""A voxel of the change map with at least this value counts as changed tissue.

Unit: one minus the tail-area false-discovery rate, 0 to 1. Source: convention, a false-discovery rate of 5 %.
"""

# The parts of the change map

MIN_COMPONENT_ML = 0.02
"""Smaller parts of the change map are not listed. Unit: mL. Source: our choice, six voxels of 1.5 mm."""

FALSE_CANDIDATES = 1.0
"""Places to look at are listed down to the strength of which a pair without change has at most this many on average.

Unit: parts a pair. Source: our choice, as radiologists read free-response curves at one false mark a case. It was .14
in 21 pairs of 6 people (docs/results.md).
"""

MAX_CANDIDATE_P = 1 - math.exp(-FALSE_CANDIDATES)
"""A part whose p is larger is no place to look at: of such, a pair without change has more than FALSE_CANDIDATES.

Unit: probability, 0 to 1. Source: the number of false candidates of a pair is taken for a Poisson variable.
"""

MAX_COMPONENTS = 20
"""No more parts of a change map than this are listed, the strongest first. Unit: count. Source: our choice."""

MIN_SAME_TISSUE_SHARE = 0.65
"""Tissue that differs from its surroundings by this share of what the part shows is tissue of the same kind.

It decides between new and enlarging, and between vanished and shrinking. Unit: share of the part's contrast, 0 to 1.
Source: our choice.
"""

MIN_SAME_TISSUE_VOLUME = 0.1
"""So much tissue of the same kind in or beside the part, on the other date, says that it was there then too.

Unit: share of the part's volume. Source: as MIN_SAME_TISSUE_SHARE.
"""

BRIGHTEST_SHARE = 0.05
"""These are the brightest voxels of a scan, such as tissue that takes up contrast agent.

Unit: share of what both scans show. Source: our choice.
"""

MIN_BRIGHTEST_VOXELS = 0.25
"""A part with so many voxels among the brightest is bright tissue, also where darker tissue was there before.

Unit: share of the part's voxels. Source: our choice, looked at in the parts of five real tumour pairs.
"""

BESIDE_PART_MM = 3.0
"""Distance within which voxels belong to a part. Unit: mm. Source: our choice, two voxels of the default spacing."""

AROUND_PART_MM = 7.5
"""Distance within which voxels that are not beside the part are what it is compared with. Unit: mm.

Source: our choice.
"""

# Lesions over all dates

MIN_LESION_VOXELS = 3
"""Smaller marks begin no lesion: in real masks most of them are specks. A lesion may shrink to one. Unit: voxels.

Source: our choice; of the 101 parts of the tumour masks in brain_tumor_progression 55 are smaller and hold .2 % of the
volume.
"""

MIN_LINK_SHARE = 0.1
"""Two lesions of two dates are one if they overlap by this share of the smaller one. Unit: share of its volume.

Source: our choice.
"""

MAX_LINK_MM = 2.0
"""So far, and half a voxel, a lesion may lie from where it was, where nothing overlaps: neither marks nor registration
are exact. Unit: mm.

Source: the worst of 46 registrations of real heads was 1.6 mm off, the median .79 (docs/results.md).
"""

MIN_SHARE_SHOWN = 0.5
"""A lesion has vanished, or is new, only where a scan without it shows at least this share of its place.

Unit: share of its volume.

Source: our choice.
"""

BOUNDARY_SD_VOXELS = 0.05
"""Standard deviation of the position of a lesion's boundary, over the whole boundary at once. Unit: voxel edges.

Source: our choice.
"""

VOLUME_CHANGE_Z = 1.96
"""A lesion or a brain structure has changed if its volume has by more than this many standard deviations.

Source: convention, the 95 % interval of a normal distribution.
"""

MIN_DAYS_FOR_YEARLY_RATE = 90
"""Over fewer days a change of volume is not given as percent a year. Unit: days.

Source: our choice; over less the error of the volumes grows fourfold and more.
"""

MIN_ML_FOR_YEARLY_RATE = 0.1
"""The change of a lesion that is smaller on one of the dates is not given as percent a year. Unit: mL.

Source: our choice; a few voxels more at the edge of a mask are hundreds of percent of it.
"""

# Findings of a kind that readers rejected: see reporting.data.rejected_kinds

MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS = 4, 3
"""A kind counts as rejected from so many rejected findings in so many patients on, if none was confirmed.

Unit: count. Source: our choice, see docs/results-simulated-change.md (`python -m benchmarks.reader_learning`).
"""

# The smallest detectable change

DETECTION_POWER = 0.8
"""Chance of being seen that `smallest_detectable_ml` is given for. Unit: probability.

Source: convention (Cohen, 1988).
"""

PLANTED_CONTRAST = 0.3
"""Planted tissue is this much brighter or darker. Unit: share of the middle of bright tissue. Source: our choice."""

LARGEST_TESTED_ML = 8.0
"""No larger change is planted. Where not even this one is seen with DETECTION_POWER, "no change" would be false
reassurance, and the verdict is `uncertain`.

Unit: ml. Source: our choice; a ball of 25 mm, which a reader sees at a glance.
"""

# The reference of pairs without change

MIN_REAL_RESCANS = 8
"""With fewer real rescans than this, a stratum's reference comes from simulated ones. Unit: pairs.

Source: our choice.
"""

MIN_RESCAN_PATIENTS = 4
"""Real rescans of fewer patients than this tell nothing of the others: then too they are simulated. In a study of fewer
patients all of them are enough. Unit: patients.

Source: drawn figures, where the log of patients has a standard deviation of .1 and that of rescans of one patient .03.
With 8 or 9 rescans of one, two, three and four patients, 22, 8, 7 and 4 % of other patients had p < .05.
"""

EVIDENCE_WEIGHT = 0.7
"""Share of the false alarms that the detector's evidence may raise; the rest is for local growth.

Evidence is what most changes show in. Source: our choice among .5 to .9 in tenths, on pairs whose truth is known: the
largest at which 5 % of 303 unchanged pairs alarm (`python -m benchmarks.own_false_alarms`).
"""

MIN_REFERENCE_PAIRS = 3
"""With fewer pairs without change than this a page shows the band of a normal distribution. Unit: pairs.

Source: Student's t of a regression line needs at least one degree of freedom.
"""

NORMAL_BAND_Z = (-1.812, 1.812)
"""The band of rescans where the model holds too few pairs without change. Unit: standard deviations.

Source: a normal distribution has 3.5 % above it, the share of false alarms at .05 that evidence may raise.
"""

# Scans under the wrong patient

MIN_SUSPICION_LOG10 = 0.5
"""Below this no scan is called another patient's, however well the validation scans are told apart.

Unit: log10 of a likelihood ratio, so 3 to 1. Source: our choice.
"""

P_OWNER_NOT_IN_STUDY = 0.2
"""Prior probability that the true patient of a misfiled scan is not in the study. Source: our choice."""

# What may be said of a model

MAX_SHORTCUT_AUC = 0.6
"""A shortcut that tells persons apart with a larger area under the ROC curve withholds the model's headline.

It is the estimate that counts, not the interval's lower end: with few patients chance alone may pass it, and then a
shortcut cannot be excluded, which is what the audit is for. Unit: AUC, 0.5 to 1. Source: our choice.
"""

MAX_CALIBRATION_ERROR = 0.03
"""Expected calibration error up to which the similarity counts as a probability that is right.

Unit: probability. Source: our choice.
"""

MAX_FALSE_MATCH_FACTOR = 1.5
"""Largest ratio between the false-match rate on test patients and the nominal one, either way. Unit: ratio.

Source: our choice.
"""

MIN_EXPECTED_FALSE_MATCHES = 5
"""False matches that must be expected for their rate to be judged. Unit: count.

Source: the usual rule for the normal approximation of a count.
"""

MIN_REGION_SHARE = 0.15
"""A region of identity that is a smaller share of the body is small: most of the anatomy is not looked at.

Unit: share of the body that half of the training scans show, 0 to 1. Source: our choice. Well aligned real heads, whose
necks and faces differ, have .25 to .35; where short fields of view had left 167 ml, about .06, the baselines won.
"""

MIN_PAIRS_FOR_PER_MILLE = 1000
"""Pairs of two persons from which on a false-match rate of 0.1 % is more than none. Unit: pairs."""

# Volumes of brain structures

STRUCTURE_VOLUME_ERROR = {"brain": (0.0076, 0.0244), "ventricles": (0.0395, 0.0585)}
"""Standard deviation of one measured volume, where both scans are of one scanner, and where they are of two.

Unit: share of the volume. Source: simulated rescans of the real heads of 29 people with even numbers, with slices below
THICK_SLICE_MM (`python -m benchmarks.structure_volumes`).
"""

THICK_SLICE_MM, THICK_SLICE_FACTOR = 4.0, 2.5
"""From this spacing of slices on, the error of a structure's volume is so many times as large.

Unit: mm; ratio. Source: our choice, after six such heads of people with even numbers (the same command).
"""
