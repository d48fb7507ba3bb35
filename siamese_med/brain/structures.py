"""The structures that the segmentation network tells apart, and the FreeSurfer labels that each of them is made of."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Structure(IntEnum):
    """A structure of the head; the value is its number in `BrainSegmentation.structures`.

    Deep grey matter is thalamus, caudate, putamen, pallidum, hippocampus, amygdala and accumbens. The lateral
    ventricles count with their choroid plexus, the brain stem with the ventral diencephalon. Other fluid is that of
    the sulci and cisterns, and of the third and fourth ventricle.

    Examples
    --------
    >>> Structure(1).name, Structure.OTHER_FLUID.value
    ('LEFT_WHITE_MATTER', 12)
    """

    BACKGROUND = 0
    LEFT_WHITE_MATTER = 1
    RIGHT_WHITE_MATTER = 2
    LEFT_CORTEX = 3
    RIGHT_CORTEX = 4
    LEFT_DEEP_GREY = 5
    RIGHT_DEEP_GREY = 6
    LEFT_LATERAL_VENTRICLE = 7
    RIGHT_LATERAL_VENTRICLE = 8
    LEFT_CEREBELLUM = 9
    RIGHT_CEREBELLUM = 10
    BRAIN_STEM = 11
    OTHER_FLUID = 12


FREESURFER_LABELS: dict[Structure, tuple[int, ...]] = {
    Structure.LEFT_WHITE_MATTER: (2, 25),
    Structure.RIGHT_WHITE_MATTER: (41, 57, 77),
    Structure.LEFT_CORTEX: (3,),
    Structure.RIGHT_CORTEX: (42,),
    Structure.LEFT_DEEP_GREY: (10, 11, 12, 13, 17, 18, 26, 30),
    Structure.RIGHT_DEEP_GREY: (49, 50, 51, 52, 53, 54, 58, 62),
    Structure.LEFT_LATERAL_VENTRICLE: (4, 5, 136, 137),
    Structure.RIGHT_LATERAL_VENTRICLE: (43, 44, 163, 164),
    Structure.LEFT_CEREBELLUM: (7, 8),
    Structure.RIGHT_CEREBELLUM: (46, 47),
    Structure.BRAIN_STEM: (16, 28, 60, 85),
    Structure.OTHER_FLUID: (14, 15, 24, 72),
}
"""Labels of a FreeSurfer label map in each structure (25, 57, 77: lesions; 30, 62: vessels; 72: fifth ventricle; 85:
optic chiasm; 136, 137, 163, 164: choroid plexus in the label maps of SynthSeg). All others are background."""
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 11, 12)
"""The structure that each one becomes when left and right are exchanged."""


def convert_freesurfer_labels(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Convert FreeSurfer's label numbers to numbers of `Structure`; other labels become background.

    Examples
    --------
    >>> convert_freesurfer_labels(np.array([0, 2, 24, 507]))
    array([ 0,  1, 12,  0], dtype=uint8)
    """
    table = np.zeros(max(1000, int(labels.max(initial=0)) + 1), dtype=np.uint8)
    for structure, numbers in FREESURFER_LABELS.items():
        table[list(numbers)] = structure
    return np.asarray(table[labels])
