"""Largest differences between scans of one patient: contrasts, scanners, protocols. Features are freed of them.

The principal components of all differences would be the patients themselves where these are few. What is left of the
training scans would then be unlike in scans of one patient, and alike in those of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_within_patient_modes(features: Tensor, patients: NDArray[np.int64], most: int, scans_per_mode: int) -> Tensor:
    """Find the principal components of the differences between scans of one patient.

    Parameters
    ----------
    features
        Of each scan (n, f).
    patients
        Number of each scan's patient (n,).
    most
        Largest number of components.
    scans_per_mode
        Scans beyond each patient's first that are needed for each component.

    Returns
    -------
    Tensor
        Orthonormal components (m, f), float32.
    """
    apart = features.double().clone()
    for patient in np.unique(patients):
        scans = torch.from_numpy(np.flatnonzero(patients == patient))
        apart[scans] -= apart[scans].mean(0)
    count = min(most, (len(patients) - len(np.unique(patients))) // scans_per_mode)
    _, vectors = torch.linalg.eigh(apart @ apart.T)
    modes = vectors[:, len(patients) - count :].T @ apart
    return functional.normalize(modes, dim=1).float()
