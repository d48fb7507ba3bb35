"""Similarity by group: time between the scans, same or other scanner, contrast. These can change it in one patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from siamese_med.study.model_metrics import GroupSimilarity, SimilarityStrata
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from siamese_med.scoring.identity.verification_metrics import ScanPairs

INTERVAL_GROUPS_MAX_DAYS = {
    "up to 1 month": 31,
    "1 to 6 months": 183,
    "6 to 12 months": 366,
    "1 to 2 years": 731,
    "over 2 years": 10**6,
}
"""Groups of the time between two scans, and the largest number of days of each."""


def summarise_by_group(
    scans: pd.DataFrame, pairs: ScanPairs, similarity: NDArray[np.float64], threshold: float
) -> SimilarityStrata:
    """Summarise the similarity of each group of pairs: median, 5th and 95th percentile, and the share of matches.

    Parameters
    ----------
    scans
        The scans, with columns date, scanner and contrast.
    pairs
        All pairs of them. Pairs of two patients are in no group of time.
    similarity
        Similarity (pairs,), in the order of `pairs`.
    threshold
        Similarity at which a pair is a match.
    """
    kinds: dict[Literal["same", "different"], NDArray[np.bool_]] = {"same": pairs.same, "different": ~pairs.same}
    found: dict[str, tuple[GroupSimilarity, ...]] = {}
    for name, groups in _groups(scans, pairs).items():
        found[name] = tuple(
            _summarise(group, kind, values, threshold)
            for group in _in_order(name, groups)
            for kind, of_kind in kinds.items()
            if len(values := similarity[(groups == group) & of_kind])
        )
    return SimilarityStrata(**found)


def _summarise(
    group: str, kind: Literal["same", "different"], similarity: NDArray[np.float64], threshold: float
) -> GroupSimilarity:
    low, median, high = np.quantile(similarity, [0.05, 0.5, 0.95])
    return GroupSimilarity(
        group=str(group),
        kind=kind,
        pairs=len(similarity),
        median=float(median),
        low=float(low),
        high=float(high),
        accepted=float((similarity >= threshold).mean()),
    )


def _groups(scans: pd.DataFrame, pairs: ScanPairs) -> dict[str, NDArray[np.str_]]:
    """The group of every pair, by interval, by scanner and by contrast; an empty string for no group."""
    contrast, scanner = (scans[name].to_numpy(str) for name in ("contrast", "scanner"))
    first, second = pairs.places
    machines = np.where(scanner[first] == scanner[second], "same scanner", "other scanner")
    unknown = (scanner[first] == UNKNOWN) | (scanner[second] == UNKNOWN)
    low, high = np.sort(np.stack([contrast[first], contrast[second]]), 0)
    words = {(a, b): a if a == b else f"{a} and {b}" for a, b in set(zip(low, high, strict=True))}
    return {
        "interval": np.where(pairs.same, _intervals(scans, pairs), ""),
        "scanner": np.where(unknown, "scanner unknown", machines),
        "contrast": np.array([words[both] for both in zip(low, high, strict=True)], dtype=str),
    }


def _intervals(scans: pd.DataFrame, pairs: ScanPairs) -> NDArray[np.str_]:
    import pandas as pd

    days = pd.to_datetime(scans.date, errors="coerce").to_numpy("datetime64[D]")
    first, second = pairs.places
    between = np.abs((days[second] - days[first]).astype(float))
    between[np.isnat(days[second]) | np.isnat(days[first])] = np.nan
    groups = np.full(len(between), "", dtype=f"U{max(map(len, INTERVAL_GROUPS_MAX_DAYS))}")
    for low, (word, high) in zip(
        [-1, *INTERVAL_GROUPS_MAX_DAYS.values()], INTERVAL_GROUPS_MAX_DAYS.items(), strict=False
    ):
        groups[(between > low) & (between <= high)] = word
    return groups


def _in_order(name: str, groups: NDArray[np.str_]) -> list[str]:
    present = set(groups.tolist()) - {""}
    return [word for word in INTERVAL_GROUPS_MAX_DAYS if word in present] if name == "interval" else sorted(present)
