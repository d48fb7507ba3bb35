"""A PACS over DICOMweb (DICOM PS3.18): lists by QIDO-RS, stored files by WADO-RS; errors become one line of advice.

What a server lists is hostile input like any file: an answer counts only where it matches what was asked for.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from functools import partial
from typing import Any, cast

import requests
from dicomweb_client.web import DICOMwebClient
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from siamese_med.errors import TransferError
from siamese_med.ingestion.pacs.server_errors import (
    PASSWORD_VARIABLE,
    RETRYABLE_STATUSES,
    TOKEN_VARIABLE,
    USER_VARIABLE,
    BrokenOffError,
    UnreachableError,
    make_not_dicomweb_error,
    translate_pacs_errors,
)
from siamese_med.study.config import IngestConfig
from siamese_med.study.input_source import Pull

RESULTS_PER_PAGE = 1000
"""Results per request; servers may give fewer, so pages are requested until one has nothing new."""

ACCEPT_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Accept header for files in the transfer syntax in which the server stores them (PS3.18, section 8.7.3)."""

CLOSING_TAIL_BYTES = 1024
"""Bytes at the end of an answer in which its closing boundary must be."""

TRANSFER_CHUNK_BYTES = 2**20
"""Bytes that are read from the connection at once."""

STUDY_DATE_TAG, STUDY_TIME_TAG, STUDY_UID_TAG, SERIES_UID_TAG, INSTANCE_UID_TAG = (
    "00080020",
    "00080030",
    "0020000D",
    "0020000E",
    "00080018",
)
STUDY_INSTANCE_COUNT_TAG, SERIES_INSTANCE_COUNT_TAG = "00201208", "00201209"
"""Number of Study Related Instances, and Number of Series Related Instances."""

SearchResults = dict[tuple[str, ...], Any]
"""Results of a search by their UIDs."""


@dataclass(frozen=True)
class ListedStudy:
    """A study as the server lists it.

    `when` are Study Date and Study Time as text, `announced` is the number of its instances, 0 where the server gives
    none.
    """

    uid: str
    when: tuple[str, str]
    announced: int


class DicomwebServer:
    """The DICOMweb server at an address. Every method raises TransferError or AddressError."""

    def __init__(self, pull: Pull, config: IngestConfig) -> None:
        self._query = pull.query
        self._client = _Client(pull.url, _session(), timeout=config.transfer_timeout_s, chunk_size=TRANSFER_CHUNK_BYTES)
        self._client.host = pull.host  # the library leaves the port out of the Host header
        self._client.set_http_retry_params(config.transfer_tries > 1, config.transfer_tries, 500, RETRYABLE_STATUSES)
        self._most_bytes = config.max_gigabytes * 1e9

    def studies(self) -> list[ListedStudy]:
        """List the studies that match the query (QIDO-RS), by date and time; undated ones come last."""
        search = partial(
            self._client.search_for_studies,
            search_filters=self._query,
            fields=[_keyword_of_tag(STUDY_INSTANCE_COUNT_TAG)],
        )
        listed = [
            ListedStudy(
                uid, (_text(one, STUDY_DATE_TAG), _text(one, STUDY_TIME_TAG)), _count(one, STUDY_INSTANCE_COUNT_TAG)
            )
            for (uid,), one in _search_all_pages(search, STUDY_UID_TAG).items()
        ]
        return sorted(listed, key=lambda one: (not one.when[0], one.when, one.uid))

    def series(self, study: str) -> dict[str, int]:
        """List the series of a study (QIDO-RS).

        Returns
        -------
        dict of str to int
            Number of instances that the server states for each Series Instance UID; 0 where it states none.
        """
        search = partial(self._client.search_for_series, study, fields=[_keyword_of_tag(SERIES_INSTANCE_COUNT_TAG)])
        return {
            uid: _count(one, SERIES_INSTANCE_COUNT_TAG)
            for (uid,), one in _search_all_pages(search, SERIES_UID_TAG).items()
        }

    def instances(self, study: ListedStudy) -> dict[str, set[str]]:
        """List the instances of a study (QIDO-RS).

        Where the server does not state the series of its instances, each series is asked for on its own.

        Returns
        -------
        dict of str to set of str
            SOP Instance UIDs by Series Instance UID.
        """
        search = partial(self._client.search_for_instances, study.uid)
        found = _search_all_pages(
            partial(search, fields=[_keyword_of_tag(SERIES_UID_TAG)]),
            SERIES_UID_TAG,
            INSTANCE_UID_TAG,
            enough=study.announced,
        )
        by_series: dict[str, set[str]] = defaultdict(set)
        for series, uid in found:
            by_series[series].add(uid)
        if "" in by_series:  # the server does not state the series of an instance
            return {
                one: {uid for (uid,) in _search_all_pages(partial(search, one), INSTANCE_UID_TAG)}
                for one in self.series(study.uid)
            }
        return by_series

    def files(self, study: str, series: str) -> Iterator[bytes]:
        """Receive the stored files of a series, one after the other as they arrive.

        Raises
        ------
        BrokenOffError
            The connection was lost in the middle; asking again may help.
        TransferError, AddressError
            The server failed or refused, or a file is over `ingest.max_gigabytes`.
        """
        with translate_pacs_errors():
            answer = self._client.ask_for_series(study, series)
        try:
            with translate_pacs_errors():
                yield from self._client.parts(answer, self._most_bytes)
        except UnreachableError as error:
            raise BrokenOffError(str(error)) from None


class _Client(DICOMwebClient):
    """The library's client with series as they are stored; its own methods would parse and rewrite every file."""

    def ask_for_series(self, study: str, series: str) -> requests.Response:
        if not _is_uid(study) or not _is_uid(series):
            raise ValueError
        url = f"{self.base_url}/studies/{study}/series/{series}"
        return self._http_get(url, headers={"Accept": ACCEPT_AS_STORED}, stream=True)

    def parts(self, answer: requests.Response, most_bytes: float) -> Iterator[bytes]:
        watched = _BoundedResponse(answer, most_bytes)
        if answer.headers.get("Content-Type", "").startswith("application/dicom"):
            yield b"".join(
                watched.iter_content(TRANSFER_CHUNK_BYTES)
            )  # some servers send a single file that is not multipart
            return
        for part in self._decode_multipart_message(cast(requests.Response, watched), stream=True):
            watched.waiting = 0
            yield part


class _BoundedResponse:
    """A response that must end with its closing boundary, and no part of which may grow without limit.

    Orthanc, for one, states no length and ends a response by closing the connection. Without a closing boundary, a lost
    connection would look like the end, and a truncated file like a complete one.
    """

    def __init__(self, answer: requests.Response, most_bytes: float) -> None:
        self.headers = answer.headers
        self.waiting = 0  # bytes that belong to no part yet
        self._answer, self._most_bytes = answer, most_bytes
        about = Message()
        about["Content-Type"] = answer.headers.get("Content-Type", "")
        boundary = about.get_boundary()
        self._closing = f"--{boundary}--".encode() if boundary else b""

    def __enter__(self) -> _BoundedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def iter_content(self, chunk_size: int) -> Iterator[bytes]:
        tail = b""
        for chunk in self._answer.iter_content(chunk_size):
            tail = (tail + chunk)[-CLOSING_TAIL_BYTES:]
            self.waiting += len(chunk)
            if self.waiting > self._most_bytes:
                raise TransferError("the PACS sends a file over ingest.max_gigabytes: raise it if the file is right")
            yield chunk
        if self._closing not in tail:
            raise requests.ConnectionError


class _Bearer(AuthBase):
    """Send a token with every request; as `auth`, so that it is not passed on to another host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _RetryClosedConnection(Retry):
    """Retry where a kept-open connection turns out to be closed, but not where an answer takes too long.

    Servers close idle connections (Orthanc after a second), possibly while the next request is on its way.
    """

    def increment(self, *request: Any, **outcome: Any) -> Any:
        if isinstance(outcome.get("error"), ReadTimeoutError):
            raise outcome["error"]
        return super().increment(*request, **outcome)


def _session() -> requests.Session:
    """Open a session with the credentials from the environment."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=_RetryClosedConnection(total=1, connect=0, other=0, status=0)))
    if token := os.environ.get(TOKEN_VARIABLE):
        session.auth = _Bearer(token)
    elif user := os.environ.get(USER_VARIABLE):
        session.auth = (_in_utf8(user), _in_utf8(os.environ.get(PASSWORD_VARIABLE, "")))
    return session


def _in_utf8(text: str) -> str:
    """Recode a text so that requests, which sends Latin-1, sends UTF-8."""
    return text.encode().decode("latin-1")


def _search_all_pages(search: Callable[..., list[Any]], *tags: str, enough: int = 0) -> SearchResults:
    """Collect all results of a search, page by page; `enough` is their expected number, 0 where it is not known."""
    found: SearchResults = {}
    offset = 0
    while True:
        with translate_pacs_errors():
            page = search(limit=RESULTS_PER_PAGE, offset=offset)
            named = {tuple(_text(one, tag) for tag in tags): one for one in page}
        if not all(uids[-1] for uids in named):
            raise make_not_dicomweb_error()
        fresh = named.keys() - found.keys()
        found |= {uids: named[uids] for uids in fresh}
        offset += len(page)
        if not fresh or enough == len(found):
            return found


def _text(one: Any, tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON (PS3.18, annex F), or an empty text."""
    try:
        return str(one[tag]["Value"][0]).strip(" \0")
    except (LookupError, TypeError):
        return ""


def _count(one: Any, tag: str) -> int:
    written = _text(one, tag)
    return int(written) if written.isdecimal() and len(written) < 10 else 0


def _is_uid(text: str) -> bool:
    """Tell whether a text is a UID, and so is safe in a path of the server."""
    return 0 < len(text) <= 64 and set(text) <= set("0123456789.") and ".." not in text


def _keyword_of_tag(tag: str) -> str:
    return DICOMwebClient.lookup_keyword(tag)
