"""Rigid registration by other programs, on one thread: SimpleITK, and greedy (picsl-greedy) where it is installed.

Neither is needed by siamese-med. greedy is under the GPL, so it is never imported by the package itself:
`pip install picsl-greedy` in an environment of its own, beside siamese-med, is enough.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

GREEDY_ARGUMENTS = "-d 3 -a -dof 6 -m NMI -n 100x60x20 -ia-image-centers -search 500 20 20 -threads 1"
"""As its manual has it for rigid registration across contrasts, with a search of 500 starting poses."""


def convert_to_simpleitk(scan: Volume) -> Any:
    """Convert a scan to an image of SimpleITK; its axes are ours (RAS+), since only relations of two images matter."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(scan.voxels.T.astype(np.float32)))
    image.SetSpacing(scan.spacing_mm.tolist())
    image.SetDirection((scan.affine[:3, :3] / scan.spacing_mm).flatten().tolist())
    image.SetOrigin(scan.affine[:3, 3].tolist())
    return image


def register_by_simpleitk(fixed: Any, moving: Any) -> Matrix:
    """Register two images of SimpleITK: Mattes mutual information, moments as the start, three resolutions.

    Returns
    -------
    4x4 from mm of the fixed to mm of the moving image.
    """
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    start = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.Euler3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    method.SetInitialTransform(start, inPlace=True)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.Execute(fixed, moving)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(start.GetMatrix(), (3, 3))
    matrix[:3, 3] = start.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def register_by_greedy(fixed: Any, moving: Any) -> Matrix:
    """Register two images of SimpleITK by greedy, see GREEDY_ARGUMENTS; the same result as `register_by_simpleitk`.

    greedy works in RAS mm and reads ITK's as LPS, so the axes are turned there and back.
    """
    import picsl_greedy

    program = picsl_greedy.Greedy3D()
    with _silence():
        program.execute(f"{GREEDY_ARGUMENTS} -i fixed moving -o found", fixed=fixed, moving=moving, found=None)
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(turned @ np.asarray(program["found"]) @ turned)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard output, also of code that is not Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
