"""Correction of the p values of one patient's pairs for their number (Holm)."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_holm(p: Sequence[float]) -> list[float]:
    """Adjust p values for multiple testing, so that the family-wise error rate stays at the level of each single test.

    Parameters
    ----------
    p
        The p values of one family, here of all comparable pairs of one patient.

    Returns
    -------
    list[float]
        The adjusted p values, in the same order, at most 1.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics, 1979.

    Examples
    --------
    >>> adjust_holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    found, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        found[place] = least
    return found
