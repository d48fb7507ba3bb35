"""Traits of the person in a DICOM header besides the identifier: enough to notice that one id stands for two people.

Each trait is given as the values that it may have, so that an exact value and a vague one can be compared: a birth date
and an age fit together if they share a year of birth. The values only go into pseudonyms and are never written.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.dicom.fast_header import NotPlainError, PlainHeader
from siamese_med.ingestion.dicom.placeholder_ids import PLACEHOLDER_WORDS, is_placeholder_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from siamese_med.ingestion.dicom.tags import DicomHeader

PersonTraits = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of traits, each with the values that it may have."""

SEXES = ("M", "F")
"""Values of Patient's Sex that exclude one another; O (other) and an empty value exclude none."""

EARLIEST_BIRTH_YEAR = 1902
"""Earlier birth dates, such as 1 January 1900 or 1901, stand for none."""

AGE_PATTERN = re.compile(r"(\d{3})([YMWD])")
"""An age as DICOM writes it: 034Y in years, 007M in months, 003W in weeks, 010D in days."""

DAYS_BY_AGE_UNIT = {"M": 30.44, "W": 7.0, "D": 1.0}
"""Mean length of a month, a week and a day, in days."""

NAME_TRAIT = "name"
"""The trait that holds how the words of the name begin."""

FORMER_IDS_TRAIT, IDENTITY_TRAIT = "former ids", "identity"
LINK_TRAITS = {FORMER_IDS_TRAIT, IDENTITY_TRAIT}
"""Traits that link two identifiers: those that the header names beside its own, and name, birth date and sex in one.

They contradict nothing where they differ."""

VISIT_STEM_TRAIT = "identifier without visit"
"""The trait that holds the identifier without the visit that stands at its end: S01 of S01_V2."""

NAMED_TRAIT = "named"
"""The trait of a person whom a manifest names."""

TRIAL_SUBJECT_TRAIT = "trial subject"
"""The trait that holds the subject's identifier in a clinical trial, where PatientID may be that of the trial."""

INSTITUTION_TRAIT = "institution"
"""The trait that holds where the scan was made. People move, so it contradicts nothing."""
MIN_INSTITUTION_LETTERS = 2

NAME_PATTERN = re.compile(r"[A-Za-z ^,.'=-]+")
"""Names that are compared: in Latin letters, since each character set has a spelling of its own, and without digits,
since names with digits are pseudonyms, which may be other ones in each visit."""

NAME_BEGINNING, MIN_NAME_WORDS = 2, 2
"""Letters of each word that are compared, so that Jon is John; and the fewest words, as family and given name.

A family name may change with marriage; the given name stays. Source: our choice."""

HEIGHT_RANGE_M, HEIGHT_STEP_M, HEIGHT_STEPS_OFF = (1.3, 2.3), 0.05, 2
"""Heights of grown-up people, and how far two may be apart: entries are typed by hand, and rounded.

Two heights share a value if they are less than about 20 cm apart. Source: our choice.
"""


def read_person_traits(dataset: DicomHeader, day: date | None) -> PersonTraits:
    """Read issuer, sex, birth date, year of birth, height, name, former identifiers and institution from a header.

    Parameters
    ----------
    dataset
        The header.
    day
        Date of the scan, from which an age gives the year of birth.

    Returns
    -------
    PersonTraits
        Only the traits that the header has. A birth date of 1 January often stands for the year alone, so it counts as
        a year.
    """
    texts = [tags.get_tag_text(dataset, key) for key in ("PatientSex", "PatientBirthDate", "PatientAge")]
    height = tags.get_tag_number(dataset, "PatientSize")
    traits = list_person_traits(
        texts[0], texts[1], texts[2], height, day, tags.get_tag_text(dataset, "IssuerOfPatientID")
    )
    own = tags.get_tag_text(dataset, "PatientID").upper()
    found = (
        (
            FORMER_IDS_TRAIT,
            tuple(one for one in _read_former_ids(dataset) if one != own and not is_placeholder_id(one)),
        ),
        (TRIAL_SUBJECT_TRAIT, _read_trial_subject(dataset)),
        (INSTITUTION_TRAIT, _read_institution(dataset)),
    )
    return (*add_name(traits, _read_name(dataset)), *((trait, values) for trait, values in found if values))


def add_name(traits: PersonTraits, name: str) -> PersonTraits:
    """Return the traits with how the words of the name begin, and one value of name, birth date and sex.

    Examples
    --------
    >>> add_name((), "Meier^Anna")
    (('name', ('an', 'me')),)
    """
    found = (NAME_TRAIT, list_name_beginnings(name)), (IDENTITY_TRAIT, _identify(name, dict(traits)))
    return (*traits, *((trait, values) for trait, values in found if values))


def _read_former_ids(dataset: DicomHeader) -> tuple[str, ...]:
    """Return other identifiers of the patient, as one element or as a sequence of them, which took its place in 2008.

    None with other than ASCII letters, so that no full parser is needed for them.
    """
    key = "OtherPatientIDsSequence"
    try:
        found = list(tags.get_tag_words(dataset, "OtherPatientIDs"))
        if isinstance(dataset, PlainHeader):
            found += dataset.get_item_texts(key, "PatientID")
        else:
            found += [tags.get_tag_text(item, "PatientID") for item in tags.list_items(dataset, key)]
    except NotPlainError:
        return ()
    plain = all(one.isascii() and one.isprintable() for one in found)
    return tuple(dict.fromkeys(one.upper() for one in found if one)) if plain else ()


def _read_trial_subject(dataset: DicomHeader) -> tuple[str, ...]:
    """Return the subject's identifier in a trial, in small letters and digits; nothing where it stands for nobody."""
    try:
        said = tags.get_tag_text(dataset, "ClinicalTrialSubjectID")
    except NotPlainError:
        return ()
    plain = re.sub(r"[^a-z0-9]", "", said.casefold()) if said.isascii() else ""
    return (plain,) if plain and not is_placeholder_id(said.upper()) else ()


def _read_institution(dataset: DicomHeader) -> tuple[str, ...]:
    """Return the name of the institution in small letters and digits.

    Nothing where it has other than ASCII letters, or is a number: an element of a wrong type may be read as one.
    """
    try:
        name = tags.get_tag_text(dataset, "InstitutionName")
    except NotPlainError:
        return ()
    plain = re.sub(r"[^a-z0-9]", "", name.casefold()) if name.isascii() else ""
    named = len(re.sub(r"[^a-z]|nan|inf", "", plain)) >= MIN_INSTITUTION_LETTERS
    return (plain,) if named else ()


def _identify(name: str, traits: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one value of full name, exact birth date and sex; nothing where one of them is missing or a pseudonym."""
    if not list_name_beginnings(name) or not {"birth date", "sex"} <= traits.keys():
        return ()
    words = sorted(word for word in re.split(r"[^a-z]+", name.split("=")[0].casefold()) if word)
    return (" ".join((*words, *traits["birth date"], *traits["sex"])),)


def _read_name(dataset: DicomHeader) -> str:
    """Return the name; empty where it has other than ASCII letters, so that no full parser is needed for it."""
    try:
        return tags.get_tag_text(dataset, "PatientName")
    except NotPlainError:
        return ""


def list_name_beginnings(name: str) -> tuple[str, ...]:
    """List how the words of a name begin; nothing for a pseudonym, a word for nobody, or a name of one word.

    Two names of one person share a beginning, whatever their order, case and shortening. `Baby` stands for a name that
    is still to be given, beside that of the mother.

    Examples
    --------
    >>> list_name_beginnings("Meier^Anna^Maria"), list_name_beginnings("ANNA MEYER")
    (('an', 'ma', 'me'), ('an', 'me'))
    >>> list_name_beginnings("ANON^17"), list_name_beginnings("Meier^Baby Boy"), list_name_beginnings("Meier")
    ((), (), ())
    """
    if not NAME_PATTERN.fullmatch(name):
        return ()
    words = [word for word in re.split(r"[^a-z]+", name.split("=")[0].casefold()) if len(word) >= NAME_BEGINNING]
    if len(words) < MIN_NAME_WORDS or not PLACEHOLDER_WORDS.isdisjoint([*words, "".join(words)]):
        return ()
    return tuple(sorted({word[:NAME_BEGINNING] for word in words}))


def list_person_traits(
    sex: str, birth_date: str, age: str, height_m: float | None, day: date | None, issuer: str = ""
) -> PersonTraits:
    """List what is said of a person, each as the values that it may have.

    Parameters
    ----------
    sex, birth_date, age, issuer
        As DICOM writes them; empty for nothing.
    height_m
        Height in metres.
    day
        Date of the scan, from which an age gives the year of birth.

    Examples
    --------
    >>> list_person_traits("f", "1950-03-04", "", None, None)
    (('sex', ('F',)), ('birth date', ('1950-03-04',)), ('birth year', ('1950',)))
    >>> from datetime import date
    >>> list_person_traits("", "", "003M", None, date(2020, 2, 1))
    (('birth year', ('2019',)),)
    """
    sex = sex.strip().upper()[:1]
    born = tags.parse_dicom_date(birth_date)
    born = born if born and born.year >= EARLIEST_BIRTH_YEAR else None
    exact = born is not None and (born.month, born.day) != (1, 1)
    traits = (
        ("issuer", (issuer,) if issuer else ()),
        ("sex", (sex,) if sex in SEXES else ()),
        ("birth date", (born.isoformat(),) if born and exact else ()),
        ("birth year", _birth_years(age, born, day)),
        ("height", _heights(height_m)),
    )
    return tuple((name, values) for name, values in traits if values)


def _birth_years(written: str, born: date | None, day: date | None) -> tuple[str, ...]:
    if born is not None:
        return (str(born.year),)
    age = AGE_PATTERN.fullmatch(written)
    if age is None or day is None or not int(age[1]):
        return ()
    if age[2] == "Y":
        return tuple(str(day.year - int(age[1]) - before) for before in (0, 1))
    unit = DAYS_BY_AGE_UNIT[age[2]]
    first, last = (day - timedelta(days=unit * (int(age[1]) + more)) for more in (1, 0))
    return tuple(str(year) for year in range(first.year, last.year + 1))


def _heights(height: float | None) -> tuple[str, ...]:
    """Steps of HEIGHT_STEP_M that the height may be of."""
    if height is None or not HEIGHT_RANGE_M[0] <= height <= HEIGHT_RANGE_M[1]:
        return ()
    step = round(height / HEIGHT_STEP_M)
    return tuple(str(step + off) for off in range(-HEIGHT_STEPS_OFF, HEIGHT_STEPS_OFF + 1))
