"""Possible errors of a PACS: each as one line of advice, without address and identifiers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import requests
from retrying import RetryError

from siamese_med.errors import AddressError, SiameseMedError, TransferError

USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE = (
    f"SIAMESE_MED_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN")
)
"""Environment variables with the credentials; the token takes precedence."""

RETRYABLE_STATUSES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""HTTP statuses after which the same request may succeed a moment later."""

LOGGERS_TO_SILENCE = ("dicomweb_client", "urllib3", "retrying", "pydicom")
"""Libraries that log addresses and UIDs."""


class UnreachableError(TransferError):
    """There is no connection to the PACS, or no data arrive over it."""


class BrokenOffError(TransferError):
    """A series arrived in part; requesting it again may help."""


@contextmanager
def silence_pacs_libraries() -> Iterator[None]:
    """Suppress the libraries' log lines inside the block, since addresses and UIDs in them may identify a patient.

    The levels of the loggers are restored afterwards.
    """
    before = {name: logging.getLogger(name).level for name in LOGGERS_TO_SILENCE}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def translate_pacs_errors() -> Iterator[None]:
    """Replace exceptions of the libraries inside the block by TransferError or AddressError.

    Their messages and causes are dropped, since they contain addresses. Errors of this package pass unchanged.
    """
    try:
        yield
    except SiameseMedError:
        raise
    except Exception as error:
        explanation = _make_pacs_error(error)
    else:
        return
    raise explanation from None


def _make_pacs_error(error: Exception) -> SiameseMedError:
    again = "run the same command again"
    if isinstance(error, RetryError):
        return _make_status_error(error.last_attempt.value.status_code)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _make_status_error(error.response.status_code)
    if isinstance(error, requests.exceptions.SSLError):
        return TransferError("the PACS' certificate is not trusted: name its authority's file in REQUESTS_CA_BUNDLE")
    if isinstance(error, requests.Timeout):
        return UnreachableError(f"the PACS did not answer in time: {again}, or raise ingest.transfer_timeout_s")
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return make_not_dicomweb_error()
    if isinstance(error, OSError):  # every other error of requests is one
        return UnreachableError(f"no connection to the PACS, or it was lost: check host and port, then {again}")
    return make_not_dicomweb_error()


def make_not_dicomweb_error() -> AddressError:
    """Make the error for an answer that is no DICOMweb, such as the page of a web server."""
    return AddressError("the server at this address does not speak DICOMweb: check port and PATH, such as /dicom-web")


def _make_status_error(status: int) -> SiameseMedError:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AddressError(
            f"the PACS refuses access ({status}): check {USER_VARIABLE} and {PASSWORD_VARIABLE}, or {TOKEN_VARIABLE}"
        )
    if status == HTTPStatus.NOT_FOUND:
        return AddressError("the PACS has nothing at this address (404): check PATH, such as /dicom-web")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in RETRYABLE_STATUSES:
        return AddressError(f"the PACS refuses the request ({status}): check PATH and the query's values")
    return TransferError(f"the PACS failed ({status}): check its log, and run the same command again")
