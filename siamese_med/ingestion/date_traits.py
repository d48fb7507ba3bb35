"""What is remembered of where a scan's date is from, so that sources of dates that exclude one another are noticed.

It is kept as the traits of a person are (`dicom.person_traits`): as pseudonyms that can only be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from siamese_med.ingestion.dicom.person_traits import PersonTraits

SOURCE_TRAIT = "date source"
"""The trait that holds which source told the date."""

OFFSET_TRAIT, AGREEMENT_TRAIT = "date offset", "dates agree"
"""Traits of a scan of which a second source tells a date: days between both, or that there are none."""

STUDY_DATE_TRAIT = "study date"
"""The trait that holds a study date that lies days apart from that of the acquisition, which was taken."""

DATE_TRAITS = {SOURCE_TRAIT, OFFSET_TRAIT, AGREEMENT_TRAIT, STUDY_DATE_TRAIT}
"""They tell nothing of the person."""

MAX_DAYS_OF_ONE_DATE = 1
"""Two sources may differ by a day: a study may pass midnight."""

TABLE, HEADER, FOLDER, MANIFEST = "table", "header", "folder", "manifest"
"""Sources of dates: tables of BIDS, the header or the JSON that was made of it, folders, and a manifest."""


def list_date_traits(told: Iterable[tuple[str, date | None]]) -> PersonTraits:
    """List the traits of a date.

    Parameters
    ----------
    told
        Sources in order of preference, each with its date, or None. A manifest may differ from all others, since it
        is there to correct them.

    Examples
    --------
    >>> list_date_traits([(TABLE, None), (HEADER, date(2020, 3, 4))])
    (('date source', ('header',)),)
    >>> list_date_traits([(TABLE, date(2020, 3, 4)), (HEADER, date(2021, 3, 4))])
    (('date source', ('table',)), ('date offset', ('-365',)))
    """
    known = [(source, day) for source, day in told if day]
    if not known:
        return ()
    source, day = known[0]
    found: list[tuple[str, tuple[str, ...]]] = [(SOURCE_TRAIT, (source,))]
    for _, other in known[1:2]:
        days = (day - other).days
        apart = abs(days) > MAX_DAYS_OF_ONE_DATE
        if not apart:
            found.append((AGREEMENT_TRAIT, ("yes",)))
        elif source != MANIFEST:
            found.append((OFFSET_TRAIT, (str(days),)))
    return tuple(found)
