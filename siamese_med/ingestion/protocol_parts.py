"""Parts of a protocol besides its timing that change what an image shows: flip angle, b-value, energy.

They are told of an image only where they count, so that protocols of earlier runs stay what they were for all others.
"""

from __future__ import annotations

import re

SHORT_REPETITION_MS = 100.0
"""Below this repetition time the flip angle sets the weighting: a few degrees give PD, fifteen give T1. Unit: ms.

Source: our choice; spoiled gradient echoes for maps of T1 have 5 to 30 ms."""

B_VALUE_PATTERN = re.compile(r"(?<![a-z0-9])b[ =_-]?(\d{1,5})(?![a-z0-9])", re.I)
ENERGY_PATTERN = re.compile(r"(?<!\d)(\d{2,3})[ _-]?kev(?![a-z])", re.I)


def list_protocol_parts(
    contrast: str, description: str, repetition_ms: float | None, flip_degrees: float | None, b_value: float | None
) -> tuple[str, ...]:
    """List what else belongs to the protocol of an image.

    Parameters
    ----------
    contrast
        A word of `contrast.CONTRASTS`.
    description
        Series description, which tells b-values and energies that no element does.
    repetition_ms, flip_degrees, b_value
        Repetition time in ms, flip angle in degrees, b-value in s/mm2; None where not known.

    Examples
    --------
    >>> list_protocol_parts("T1w", "vibe", 5.0, 15.0, None), list_protocol_parts("T1w", "mprage", 2300.0, 9.0, None)
    (('flip 15',), ())
    >>> list_protocol_parts("dwi", "DWI b1000", 4000.0, 90.0, None)
    ('b 1000',)
    >>> list_protocol_parts("CT", "Monoenergetic 40 keV", None, None, None)
    ('keV 40',)
    """
    parts = []
    if flip_degrees is not None and repetition_ms is not None and repetition_ms < SHORT_REPETITION_MS:
        parts.append(f"flip {round(flip_degrees)}")
    if contrast == "dwi":
        told = [f"{round(b_value)}"] if b_value is not None else B_VALUE_PATTERN.findall(description)
        parts += [f"b {value}" for value in told]
    if contrast in ("CT", "CTCE"):
        parts += [f"keV {value}" for value in ENERGY_PATTERN.findall(description)]
    return tuple(parts)
