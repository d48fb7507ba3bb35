"""Location of an input: a path on disk, or the address of a PACS together with a query for studies.

An address is checked here, before anything stores it: one with a password or an unknown key is refused at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from siamese_med.errors import AddressError, UsageError

DICOMWEB_SCHEMES = {"dicomweb": "http", "dicomwebs": "https"}
"""Scheme of an address, and that of the requests to the service (DICOM PS3.18)."""
ADDRESS_EXAMPLE = "dicomweb://HOST[:PORT]/PATH[?PatientID=...&StudyDate=...]"
STUDY_QUERY_KEYS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "StudyID",
)
"""Keys by which DICOM obliges a server to search studies (PS3.18, section 10.6).

No others are accepted: a server that does not know a key may ignore it, and would return every study.
"""


@dataclass(frozen=True)
class Pull:
    """Studies to fetch from a PACS over DICOMweb.

    Parameters
    ----------
    address
        Such as `dicomweb://pacs:8080/dicom-web?StudyDate=20210301`; see ADDRESS_EXAMPLE.
    sent
        The folder that had been sent to the PACS, where that is known: what came back is compared with it.

    Raises
    ------
    AddressError
        The address cannot be used.

    Notes
    -----
    Neither field is part of the repr, since a query or a path may name a patient.

    Examples
    --------
    >>> pull = Pull("dicomwebs://pacs.example/dicom-web?StudyDate=20210301")
    >>> pull.url, pull.query
    ('https://pacs.example/dicom-web', {'StudyDate': '20210301'})
    """

    address: str = field(repr=False)
    sent: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_address(_split_address(self.address))
        _ = self.query

    @property
    def url(self) -> str:
        """The service's own URL (http or https), without the query."""
        parts = _split_address(self.address)
        return f"{DICOMWEB_SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}"

    @property
    def host(self) -> str:
        """Host and port."""
        return _split_address(self.address).netloc

    @property
    def query(self) -> dict[str, str]:
        """Return the query for studies: keys of STUDY_QUERY_KEYS and their values. A study has to match all of them."""
        written = _split_address(self.address).query
        try:
            pairs = parse_qsl(written, strict_parsing=True) if written else []
        except ValueError:
            raise AddressError(f"the address has a malformed query: write {ADDRESS_EXAMPLE}") from None
        wanted = dict(pairs)
        if len(wanted) < len(pairs) or not set(wanted) <= set(STUDY_QUERY_KEYS):
            raise AddressError(
                f"the address has a key twice or one that is unknown: use {', '.join(STUDY_QUERY_KEYS)}, each once"
            )
        return wanted


def parse_path_or_address(text: str | None, base: Path, sent: Path | None = None) -> Path | Pull | None:
    """Parse an input as the user wrote it: a path, relative to `base`, or the address of a PACS.

    Parameters
    ----------
    text
        The input; None where none was given.
    base
        The folder that a relative path starts from.
    sent
        The folder that had been sent to the PACS, if known.

    Raises
    ------
    AddressError
        The address cannot be used, or `sent` is given with a path.

    Examples
    --------
    >>> parse_path_or_address("export", Path("/srv")).as_posix()
    '/srv/export'
    """
    if text and "://" in text:
        return Pull(text, sent)
    if sent is not None:
        raise AddressError(
            f"what was sent can only be compared with what a PACS holds: give INPUT as {ADDRESS_EXAMPLE}"
        )
    return None if text is None else base / text


def format_path_or_address(source: Path | Pull | None) -> dict[str, str]:
    """Return an input as the keys of a study file that stand for it: `input`, and `sent` where it is known."""
    if isinstance(source, Pull):
        return {"input": source.address} | ({"sent": str(source.sent.absolute())} if source.sent else {})
    return {"input": str(source.absolute())} if source else {}


def _split_address(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise AddressError(f"the address cannot be read: write {ADDRESS_EXAMPLE}") from None
    return parts


def _check_address(parts: SplitResult) -> None:
    if parts.scheme not in DICOMWEB_SCHEMES:
        raise AddressError(
            f"an address starts with dicomweb:// (http) or dicomwebs:// (https): write {ADDRESS_EXAMPLE}"
        )
    if "@" in parts.netloc:
        raise AddressError(
            "the address holds a user or password: take them out, and set SIAMESE_MED_DICOMWEB_USER and "
            "SIAMESE_MED_DICOMWEB_PASSWORD, or SIAMESE_MED_DICOMWEB_TOKEN"
        )
    if not parts.hostname or parts.netloc.startswith("[") or parts.fragment:
        raise AddressError(f"the address names no host, or has a part after '#': write {ADDRESS_EXAMPLE}")


def refuse_own_folder(source: Path, own: Sequence[Path]) -> None:
    """Refuse an input that a study writes to: its scans would come in again as those of new patients.

    Parameters
    ----------
    source
        The input.
    own
        `Study.own_folders`: data and reports folder, which may hold the input, and the folders in the data folder,
        which may not.

    Raises
    ------
    UsageError
        The input is one of these folders, or lies in one of the latter.

    Examples
    --------
    >>> refuse_own_folder(Path("scans"), [Path("study"), Path("pages"), Path("study/scans")])
    """
    real, (data, reports, *parts) = source.resolve(), [one.resolve() for one in own]
    if real in (data, reports) or any(real.is_relative_to(part) for part in parts):
        raise UsageError(
            "INPUT is a folder that this study writes to: name the folder or manifest that the scans came from, or "
            "give the study another folder with --data"
        )
