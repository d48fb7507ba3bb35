"""Brightness of every label of a whole-head label map in the usual contrasts, and by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTRASTS = ("T1w", "T2w", "FLAIR", "T1wCE")
"""Contrasts that `draw_levels` knows; the columns of TISSUES."""
TISSUES: dict[str, tuple[tuple[int, ...], tuple[float, float, float, float]]] = {
    "air": ((0,), (0.00, 0.00, 0.00, 0.00)),
    "white matter": ((2, 41), (0.85, 0.40, 0.50, 0.85)),
    "white matter lesion": ((25, 57, 77), (0.60, 0.75, 0.85, 0.60)),
    "cortex": ((3, 42), (0.58, 0.55, 0.62, 0.60)),
    "cerebellar white matter": ((7, 46), (0.83, 0.40, 0.50, 0.83)),
    "cerebellar cortex": ((8, 47), (0.60, 0.54, 0.60, 0.62)),
    "thalamus": ((10, 49), (0.70, 0.47, 0.56, 0.70)),
    "caudate": ((11, 50), (0.60, 0.51, 0.60, 0.61)),
    "putamen": ((12, 51), (0.64, 0.48, 0.57, 0.65)),
    "pallidum": ((13, 52), (0.76, 0.35, 0.46, 0.76)),
    "hippocampus": ((17, 18, 53, 54), (0.58, 0.57, 0.66, 0.59)),
    "accumbens": ((26, 58), (0.60, 0.52, 0.60, 0.61)),
    "brain stem": ((16,), (0.80, 0.43, 0.48, 0.80)),
    "ventral diencephalon": ((28, 60), (0.74, 0.42, 0.50, 0.74)),
    "lateral ventricle": ((4, 5, 43, 44), (0.15, 1.00, 0.08, 0.15)),
    "third and fourth ventricle": ((14, 15, 72), (0.17, 0.97, 0.12, 0.17)),
    "fluid of the sulci": ((24,), (0.20, 0.95, 0.16, 0.22)),
    "choroid plexus": ((136, 137, 163, 164), (0.40, 0.80, 0.45, 0.95)),
    "vessels": ((30, 62, 502), (0.50, 0.15, 0.20, 1.10)),
    "optic nerve": ((85, 508, 530), (0.65, 0.45, 0.50, 0.70)),
    "eye": ((506,), (0.22, 1.00, 0.20, 0.22)),
    "muscle and fat": ((507,), (0.60, 0.40, 0.40, 0.62)),
    "mucosa": ((509,), (0.50, 0.80, 0.70, 1.00)),
    "skin": ((511,), (0.80, 0.50, 0.50, 0.82)),
    "spinal cord": ((512,), (0.75, 0.45, 0.50, 0.75)),
    "venous sinus": ((514,), (0.35, 0.20, 0.25, 1.15)),
    "compact bone": ((515,), (0.10, 0.08, 0.08, 0.12)),
    "bone marrow": ((516,), (0.60, 0.40, 0.35, 0.65)),
}
"""Each tissue's labels, and its signal in T1w, T2w, FLAIR and contrast-enhanced T1w as a share of full scale."""
TISSUE_OF_LABEL = {label: number for number, (labels, _) in enumerate(TISSUES.values()) for label in labels}
"""Position in TISSUES of each label of a label map."""
UNEVEN_TISSUES = {"muscle and fat": 0.35, "skin": 0.30, "bone marrow": 0.20, "mucosa": 0.20, "compact bone": 0.05}
"""Tissues outside the brain that vary much from place to place, and by how much (standard deviation)."""


def draw_levels(rng: np.random.Generator, contrast: str | None, jitter: float = 0.07) -> NDArray[np.float32]:
    """Draw the brightness of each tissue.

    Parameters
    ----------
    contrast
        One of CONTRASTS: its levels, each moved by a normal deviate of `jitter`. None: every tissue has a random level,
        air and (in two of three cases) bone stay dark.

    Returns
    -------
    float32 (tissues,), in the order of TISSUES, not negative.

    Examples
    --------
    >>> levels = draw_levels(np.random.default_rng(0), "T1w", jitter=0.0)
    >>> round(float(levels[TISSUE_OF_LABEL[2]]), 2)
    0.85
    """
    names = list(TISSUES)
    if contrast is not None:
        known = np.array([levels[CONTRASTS.index(contrast)] for _, levels in TISSUES.values()])
        found = known + jitter * rng.standard_normal(len(known)) * (known > 0)
    else:
        found = rng.uniform(0, 1, len(names))
        if rng.random() < 0.67:
            found[names.index("compact bone")] *= 0.2
        if rng.random() < 0.5:  # the parts of one tissue resemble one another
            grey, white = found[names.index("cortex")], found[names.index("white matter")]
            for name in ("cerebellar cortex", "caudate", "putamen", "hippocampus", "accumbens"):
                found[names.index(name)] = grey + 0.08 * rng.standard_normal()
            for name in ("cerebellar white matter", "brain stem", "ventral diencephalon", "pallidum", "thalamus"):
                found[names.index(name)] = white + (grey - white) * rng.uniform(0, 0.6) + 0.05 * rng.standard_normal()
            fluid = found[names.index("fluid of the sulci")]
            for name in ("lateral ventricle", "third and fourth ventricle"):
                found[names.index(name)] = fluid + 0.06 * rng.standard_normal()
    found[names.index("air")] = 0.0 if contrast or rng.random() < 0.8 else rng.uniform(0, 0.1)
    return np.asarray(np.clip(found, 0, None), dtype=np.float32)


def get_unevenness() -> NDArray[np.float32]:
    """Return how much each tissue varies from place to place, (tissues,) in the order of TISSUES."""
    return np.array([UNEVEN_TISSUES.get(name, 0.03) for name in TISSUES], dtype=np.float32)
