"""The score of one pair of scans, and with it the only list of the score table's columns.

From the fields of `PairScore` follow, through `study.score_columns`: the score table and its Parquet schema, what is
kept of each measured pair, pairs.tsv and its data dictionary, the pairs of report.json and their JSON Schema, and
docs/columns.md. So a new column takes a field here and the line that computes it:

1. Add a field with its type, its `ScoreColumn` and its value where nothing was measured.
2. Set it where it is measured: `scoring.change.pair_scoring` for change, `scoring.score_table` for every pair.
3. Renew the documentation: `python -m siamese_med.study.score_columns > docs/columns.md` (a test compares them).

Pages, `compare` and DICOM reports show a new column only where they are told to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any

from siamese_med.study import table_cells
from siamese_med.study.component import Component
from siamese_med.study.vocabulary import Verdict

Matrix = tuple[tuple[float | None, ...], ...]
"""Rows of numbers; empty where there is no matrix."""


class Origin(Enum):
    """Origin of the value of a column."""

    PAIR = "the pair table"
    NETWORK = "the network"
    EVERY_PAIR = "the measurement of any pair"
    CHANGE = "the measurement of change in a pair of one patient"


@dataclass(frozen=True)
class ScoreColumn:
    """Meaning of a column of the score table, and where it goes.

    Parameters
    ----------
    description
        One line for the data dictionary and the documentation.
    unit
        In SI, as BIDS wants it; None for a number without one, and for text.
    origin
        Where the value comes from. Columns of `Origin.CHANGE` are missing for pairs of two patients.
    reported
        Its name in the report, True for the same name as in the table, False where the report leaves it out.
    tabulated
        Whether it is a column of pairs.tsv and pairs.parquet, if it is reported.
    detail
        What else the documentation says.
    """

    description: str
    unit: str | None = None
    origin: Origin = Origin.CHANGE
    reported: bool | str = True
    tabulated: bool = True
    detail: str = ""


def _baseline(description: str) -> ScoreColumn:
    return ScoreColumn(f"{description}, a baseline", origin=Origin.EVERY_PAIR, detail="of the two aligned scans")


@dataclass(frozen=True)
class ReferencePairs:
    """The pairs without change that a pair is compared with."""

    stratum: str  # contrast and scanner, such as "MR FLAIR, same scanner"
    source: str  # a word of vocabulary.NullSource
    n: int

    def to_json(self) -> Mapping[str, Any]:
        """Return them as JSON values."""
        return {"stratum": self.stratum, "source": str(self.source), "n": self.n}

    @classmethod
    def from_json(cls, stored: Any) -> ReferencePairs | None:
        """Read what `to_json` returned; None where there is none, or no stratum is named."""
        stratum = table_cells.parse_text(stored.get("stratum")) if isinstance(stored, Mapping) else None
        if stratum is None:
            return None
        return cls(
            stratum, table_cells.parse_text(stored.get("source")) or "", table_cells.parse_integer(stored.get("n")) or 0
        )


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """One row of the score table: a pair, and everything that is said of it.

    The fields stand in the order of the table's columns. Defaults are what stands there where nothing was measured. A
    pair that is measured outside a study, by `compare`, has no scan ids. In pairs of one patient `scan_a` is the
    earlier scan.

    Examples
    --------
    >>> PairScore(scan_a="sub-1_ses-01_T1w", scan_b="sub-1_ses-02_T1w", kind="follow_up").comparable
    True
    """

    scan_a: Annotated[str, ScoreColumn("id of the earlier scan", origin=Origin.PAIR, reported="earlier")] = ""
    scan_b: Annotated[str, ScoreColumn("id of the later scan", origin=Origin.PAIR, reported="later")] = ""
    subject_a: Annotated[str, ScoreColumn("patient of the first scan", origin=Origin.PAIR, reported=False)] = ""
    subject_b: Annotated[str, ScoreColumn("patient of the second scan", origin=Origin.PAIR, reported=False)] = ""
    interval_days: Annotated[
        int | None, ScoreColumn("from the earlier scan to the later one", "d", Origin.PAIR, detail="missing: no date")
    ] = None
    kind: Annotated[
        str | None,
        ScoreColumn(
            "rescan, follow_up or changed: how the two scans are related",
            origin=Origin.PAIR,
            detail="in the score table also different and different_hard: pairs of two patients",
        ),
    ] = None
    split: Annotated[
        str | None,
        ScoreColumn(
            "train, validation or test: the group that the patient was in when the model was made",
            origin=Origin.PAIR,
            detail="new if the model was trained on neither scan",
        ),
    ] = None
    comparable: Annotated[
        bool,
        ScoreColumn(
            "whether a verdict may be given: on change, or of two patients on identity",
            origin=Origin.EVERY_PAIR,
            reported=False,
        ),
    ] = True
    reasons: Annotated[
        tuple[str, ...],
        ScoreColumn("why there is no verdict", origin=Origin.EVERY_PAIR, detail="see the table below"),
    ] = ()
    similarity: Annotated[
        float | None,
        ScoreColumn(
            "that both scans show the same person, by the network; calibrated",
            origin=Origin.NETWORK,
            detail="probability, 0 to 1; missing where a scan could not be placed on the template",
        ),
    ] = None
    distance: Annotated[float | None, ScoreColumn("of the two embeddings", origin=Origin.NETWORK)] = None
    change_z: Annotated[
        float | None,
        ScoreColumn(
            "standard deviations above the unchanged pairs that the pair is compared with",
            detail="of brightness or of local growth, whichever is larger",
        ),
    ] = None
    change_p: Annotated[
        float | None,
        ScoreColumn(
            "how often an unchanged pair reaches this value",
            detail="one-sided, of brightness and local growth together (Bonferroni, 7 to 3)",
        ),
    ] = None
    change_p_adjusted: Annotated[
        float | None,
        ScoreColumn("the same, corrected for the other pairs that end with this visit (Hommel): the verdict"),
    ] = None
    change_sign: Annotated[
        float | None, ScoreColumn("1 where the later scan is brighter on the whole, -1 where it is darker")
    ] = None
    volume_ml: Annotated[
        float | None,
        ScoreColumn(
            "of the voxels that the change map calls changed",
            "mL",
            detail="parts count too that a rescan might show: see beyond_rescan_ml",
        ),
    ] = None
    beyond_rescan_ml: Annotated[
        float | None,
        ScoreColumn("of the parts of the change map that alone are beyond a rescan", "mL", detail="0 where none is"),
    ] = None
    growth_ml: Annotated[
        float | None,
        ScoreColumn(
            "what the enclosed tissue gained where local volume changed most", "mL", detail="later minus earlier"
        ),
    ] = None
    growth_p: Annotated[
        float | None,
        ScoreColumn("probability that an unchanged pair reaches this local volume change", detail="one-sided"),
    ] = None
    components: Annotated[
        tuple[Component, ...],
        ScoreColumn(
            "parts of the change map, strongest first",
            origin=Origin.EVERY_PAIR,
            tabulated=False,
            detail="volume_ml, sign, kind, p, position_mm (template, or null), earlier_mm (earlier scan), region (of "
            "the brain, in words) and finding (its number in all pairs of the patient) of each",
        ),
    ] = ()
    smallest_detectable_ml: Annotated[
        float | None,
        ScoreColumn(
            "the smallest change that this very pair would have shown, with 80 % power",
            "mL",
            detail="missing where no change of up to 8 mL would have been seen",
        ),
    ] = None
    reference: Annotated[
        ReferencePairs | None,
        ScoreColumn(
            "contrast and scanner of the pairs without change that the pair is compared with",
            origin=Origin.EVERY_PAIR,
            reported="stratum",
            detail="in the score table with their source (`rescans`, `synthesised` or `own`) and number",
        ),
    ] = None
    verdict: Annotated[
        str | None,
        ScoreColumn(
            "changed, uncertain, no_change or not_comparable",
            origin=Origin.EVERY_PAIR,
            detail="uncertain: no change was found, but one of 8 mL might have been missed; missing for two patients",
        ),
    ] = None
    ncc: Annotated[float | None, _baseline("normalised cross-correlation")] = None
    ncc_highpass: Annotated[float | None, _baseline("normalised cross-correlation of fine detail")] = None
    mutual_information: Annotated[float | None, _baseline("mutual information in nats, of intensity ranks")] = None
    ssim: Annotated[float | None, _baseline("structural similarity")] = None
    pair_quality: Annotated[
        float | None,
        ScoreColumn(
            "how much worse the two scans fit when one is moved a little, 0 to 1; see `score.min_pose_quality`"
        ),
    ] = None
    transform: Annotated[
        Matrix,
        ScoreColumn(
            "4x4, the earlier scan's mm to the later one's (RAS+, rigid)",
            origin=Origin.EVERY_PAIR,
            tabulated=False,
            detail="missing where the pair was not registered",
        ),
    ] = ()
    map: Annotated[
        str | None,
        ScoreColumn(
            "the change map, below the study's data folder",
            origin=Origin.EVERY_PAIR,
            detail="NIfTI in the space of the earlier scan",
        ),
    ] = None
    pictures: Annotated[
        str | None,
        ScoreColumn(
            "the slices for the report (npz), below the study's data folder",
            origin=Origin.EVERY_PAIR,
            tabulated=False,
        ),
    ] = None

    @property
    def change_ml(self) -> float | None:
        """Return the volume that tables show: of a changed pair, the parts that alone are beyond a rescan, if any."""
        return (self.beyond_rescan_ml if self.verdict == Verdict.CHANGED else None) or self.volume_ml

    def with_values(self, values: Mapping[str, Any]) -> PairScore:
        """Return a copy with some columns set, by name."""
        return replace(self, **values)


@dataclass(frozen=True)
class MeasuredPair:
    """A pair as it was measured, before the other pairs of its patient are taken into account.

    Only `scoring.change.pair_scoring.apply_multiple_testing` makes a verdict of it.

    Parameters
    ----------
    score
        All that can be said of the pair alone.
    one_patient
        Whether both scans are filed under one patient, so that change was measured.
    detection_curve
        Volumes in mL, growing, and the p that 80 % of planted changes of that volume stay below; see
        `scoring.change.detectability`. Empty where no verdict is possible.
    """

    score: PairScore
    one_patient: bool = True
    detection_curve: tuple[tuple[float, float], ...] = ()
