"""Tracers of PET: each shows something else of the body, so each is a contrast of its own."""

from __future__ import annotations

import re

_SHORT = r"(?:(?<![a-z])|(?<=\d[fc])|(?<=ga)|(?<=\d))"
"""What may stand before a short name of a tracer: nothing, or its isotope, as in 18FFET."""

TRACERS = {
    "FDG": r"fdg|deoxy-?gluc\w*|fludeoxy\w*",
    "florbetapir": r"av-?45|florbetapir|amyvid",
    "florbetaben": r"florbetaben|neuraceq",
    "flutemetamol": r"flutemetamol|vizamyl",
    "PiB": rf"{_SHORT}pib(?![a-z])|pittsburgh",
    "NAV4694": r"nav-?4694",
    "flortaucipir": r"av-?1451|flortaucipir|t807|tauvid",
    "MK6240": r"mk-?6240",
    "PI2620": r"pi-?2620",
    "FET": rf"{_SHORT}fet(?![a-z])|fluoroethyl\w*[ -]*(?:l-)?tyros\w*",
    "FDOPA": r"f-?dopa|fluorodopa",
    "MET": rf"(?<=11c)-?met(?![a-z])|c-?11[ -]?met(?![a-z])|{_SHORT}methionin\w*",
    "FLT": rf"{_SHORT}flt(?![a-z])|fluoro-?thymidin\w*",
    "NaF": rf"{_SHORT}naf(?![a-z])|sodium[ -]?fluorid\w*",
    "FMISO": r"f-?miso|misonidazol\w*",
    "choline": r"cholin\w*|(?<![a-z])fch(?![a-z])",
    "PSMA": r"psma",
    "DOTA": r"dota-?(?:toc|tate|noc)|dotatoc|edotreotid\w*",
}
"""Regular expressions by the word for the tracer, for texts in lower case."""


def find_tracer(*texts: str) -> str:
    """Return the word of the tracer that the first text with one names; `PET` where none does.

    Examples
    --------
    >>> find_tracer("Fluorodeoxyglucose"), find_tracer("", "ADNI Brain PET: AV45"), find_tracer("Brain AC")
    ('FDG', 'florbetapir', 'PET')
    >>> find_tracer("sub-01_trc-18FFET_pet"), find_tracer("offset")
    ('FET', 'PET')
    """
    for text in texts:
        small = re.sub(r"[\s_]+", " ", text.lower())
        for tracer, pattern in TRACERS.items():
            if re.search(pattern, small):
                return tracer
    return "PET"
