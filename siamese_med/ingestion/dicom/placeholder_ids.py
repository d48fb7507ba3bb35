"""PatientIDs that name nobody: words and characters that anonymisers and consoles write for every patient."""

from __future__ import annotations

import re
import unicodedata

PLACEHOLDER_WORDS = frozenset((
    "anon", "anonym", "anonyme", "anonymer", "anonimo", "anonymous", "anonymised", "anonymized", "anonymousid",
    "anonymouspatient", "anonpatient", "anonymisedpatient", "anonymizedpatient", "deid", "deidentified",
    "deidentifiedpatient", "pseudonym", "unknown", "unknownpatient", "unidentified", "unbekannt", "inconnu",
    "unk", "trauma", "emergency", "notfall", "urgence", "newborn", "neonate", "baby", "desconocido",
    "none", "null", "nil", "nan", "na", "undefined", "unspecified", "notavailable", "notapplicable",
    "notspecified", "noid", "nopatientid", "missing", "missingid", "empty", "blank", "default", "removed", "deleted",
    "redacted", "masked", "hidden", "withheld", "confidential", "private", "dummy", "dummypatient", "sample",
    "example", "test", "testing", "testid", "testpatient", "patienttest", "tester", "demo", "patient", "patientid",
    "patid", "pat", "pid", "id", "mrn", "subject", "subjectid", "participant", "person", "volunteer", "name",
    "patientname", "noname", "johndoe", "janedoe", "doejohn", "doejane", "123456789", "1234567890", "0123456789",
))  # fmt: skip
"""Identifiers that stand for no one person, in small letters without anything between them. Source: our choice, from
what anonymisers write by default and what is typed at consoles. A number behind a word (ANON_017) tells people apart,
so such identifiers are not among them; nor are short numbers such as 1."""

FILLERS = {"0": 1, "x": 1, "9": 4}
"""Characters that fill a field when repeated, and from how many on: one 0 or X, but 9 may be the ninth patient."""


def is_placeholder_id(identifier: str) -> bool:
    """Tell whether an identifier is one that stands for nobody; an empty one is no identifier at all.

    Examples
    --------
    >>> [is_placeholder_id(one) for one in ("ANONYMOUS", "Unknown^Unknown", "0000", "XXXX", "---", "n/a")]
    [True, True, True, True, True, True]
    >>> [is_placeholder_id(one) for one in ("1", "ANON_017", "10003", "PAT-1", "99")]
    [False, False, False, False, False]
    """
    text = unicodedata.normalize("NFKD", identifier.strip().casefold())
    letters = "".join(one for one in text if one.isalnum())
    if not letters:
        return bool(identifier.strip())
    words = "".join(one if one.isalnum() else " " for one in text if not unicodedata.combining(one)).split()
    return (
        letters in PLACEHOLDER_WORDS
        or PLACEHOLDER_WORDS.issuperset(words)
        or any(len(letters) >= fewest and re.fullmatch(f"{filler}+", letters) for filler, fewest in FILLERS.items())
    )
