"""Networks of MONAI that an encoder may be made of, and the treatment of the input that all such encoders share.

The rules hold for a user's configuration and for an untrusted `model.json` alike: nothing is downloaded or opened.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

NETWORKS = (
    *("AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DenseNet", "DenseNet121", "DenseNet169", "DenseNet201"),
    *("DenseNet264", "DynUNet", "HighResNet", "MedNeXt", "ResNet", "SENet", "SENet154", "SEResNet50", "SEResNet101"),
    *("SEResNet152", "SEResNext50", "SEResNext101", "SegResNet", "SegResNetDS", "SegResNetDS2", "SegResNetVAE"),
    *("SwinUNETR", "UNet", "UNETR", "ViT", "ViTAutoEnc", "VNet"),
)
"""Classes that a description may name. Others of MONAI open a file or an address that is among their arguments, such as
`CellSamWrapper` and `HoVerNet`; of these, some download with `pretrained`, which is always off."""
INPUT_CHANNELS = ("in_channels", "n_input_channels")
"""Names under which MONAI's networks take the number of their input channels."""


def refuse_pretrained(arguments: Mapping[str, object]) -> None:
    """Raise ValueError where MONAI would fetch weights, which an untrusted model folder could make it do."""
    if arguments.get("pretrained"):
        raise ValueError("pretrained weights are not fetched: set pretrained = false")


def pad_to_multiple(scans: Tensor, multiple: int) -> Tensor:
    """Pad scans (b, c, i, j, k) with zeros at the end of each axis, to a multiple of so many voxels.

    Examples
    --------
    >>> import torch
    >>> pad_to_multiple(torch.ones(1, 1, 3, 4, 5), 4).shape
    torch.Size([1, 1, 4, 4, 8])
    """
    return functional.pad(scans, [side for n in reversed(scans.shape[2:]) for side in (0, -n % multiple)])
