"""Correction of the p values of pairs that end with one visit for their number (Hommel)."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_hommel(p: Sequence[float]) -> list[float]:
    """Adjust p values for multiple testing, so that the family-wise error rate stays at the level of each single test.

    A p value is the largest of the Simes tests of all groups of pairs that it belongs to. Holm's correction asks that
    one pair alone be strong enough for all looks; this one also counts several pairs that are each a little unusual,
    which is what a lesion looks like that grows over five visits. No pair has a larger p than by Holm's. It holds for
    tests that depend on each other positively, as pairs do that share a scan: a noisy scan raises all of them.

    Parameters
    ----------
    p
        The p values of one family, here of all comparable pairs of one patient that end with one visit.

    Returns
    -------
    list[float]
        The adjusted p values, in the same order, at most 1.

    References
    ----------
    Hommel, A stagewise rejective multiple test procedure based on a modified Bonferroni test. Biometrika, 1988.
    The algorithm: Wright, Adjusted p-values for simultaneous inference. Biometrics, 1992.

    Examples
    --------
    >>> adjust_hommel([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    >>> adjust_hommel([0.03, 0.04, 0.02])
    [0.04, 0.04, 0.04]
    """
    count = len(p)
    order = sorted(range(count), key=lambda place: p[place])
    adjusted = [p[place] for place in order]
    for size in range(count, 1, -1):  # groups of so many pairs
        few = count - size + 1  # the smallest p values: each of them may be the smallest of such a group
        largest_of_group = min(size * p[order[few - 1 + rank]] / (rank + 1) for rank in range(1, size))
        for rank, place in enumerate(order):
            bound = min(largest_of_group, size * p[place]) if rank < few else largest_of_group
            adjusted[rank] = max(adjusted[rank], bound)
    return [min(1.0, adjusted[order.index(place)]) for place in range(count)]
