"""Where an input lies: a path on disk, or the address of a PACS with what to ask it for.

An address is checked here, before anything keeps it: a password or a wrong key in it is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from siamese_med.errors import AddressError

DICOMWEB_SCHEMES = {"dicomweb": "http", "dicomwebs": "https"}
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
"""What DICOM obliges a server to search studies by; a key that a server does not know would match every study."""


@dataclass(frozen=True)
class Pull:
    """Studies to fetch from a PACS, and the folder that had been sent there, where that is known.

    Raises AddressError. Neither field is ever shown, since a query or a path may name a patient.
    """

    address: str = field(repr=False)
    sent: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_address(_split_address(self.address))
        _ = self.query

    @property
    def url(self) -> str:
        """The service's own URL, without the query."""
        parts = _split_address(self.address)
        return f"{DICOMWEB_SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}"

    @property
    def host(self) -> str:
        """Host and port."""
        return _split_address(self.address).netloc

    @property
    def query(self) -> dict[str, str]:
        """Which studies are wanted: some of KEYS and their values."""
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
    """An input as the user wrote it, if he did: a path that starts at `base`, or an address; raises AddressError."""
    if text and "://" in text:
        return Pull(text, sent)
    if sent is not None:
        raise AddressError(
            f"what was sent can only be compared with what a PACS holds: give INPUT as {ADDRESS_EXAMPLE}"
        )
    return None if text is None else base / text


def format_path_or_address(source: Path | Pull | None) -> dict[str, str]:
    """The same input in words that `source` understands: `input`, and `sent` where it is known."""
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
