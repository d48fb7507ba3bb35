"""What Prefect may know of an error, and which errors are worth a second try."""

from __future__ import annotations

import errno
import pickle

import pytest
from prefect.states import Failed

from siamese_med.errors import EmptyInputError
from siamese_med.flows.failures import StageFailed, call_hiding_error_text, is_worth_retrying


def fail(error: Exception) -> None:
    raise error


def failure_of(error: Exception) -> StageFailed:
    with pytest.raises(StageFailed) as caught:
        call_hiding_error_text(fail, error)
    return caught.value


def test_the_record_names_the_kind_of_error_and_never_its_message() -> None:
    failure = failure_of(EmptyInputError("no file in /export/MUELLER_HANS"))
    assert str(failure) == "EmptyInputError (exit code 3)"
    assert isinstance(failure.original, EmptyInputError)
    assert failure.__context__ is None
    assert failure.__cause__ is None
    assert b"MUELLER" not in pickle.dumps(failure)
    assert str(pickle.loads(pickle.dumps(failure))) == "EmptyInputError (exit code 3)"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(errno.ETIMEDOUT, "timed out"), True),
        (OSError(errno.ESTALE, "stale file handle"), True),
        (FileNotFoundError(errno.ENOENT, "not there"), False),
        (PermissionError(errno.EACCES, "not allowed"), False),
        (EmptyInputError("nothing"), False),
        (KeyError("our fault"), False),
    ],
    ids=repr,
)
def test_only_passing_troubles_are_tried_again(error: Exception, again: bool) -> None:
    assert is_worth_retrying(None, None, Failed(data=failure_of(error))) is again


def test_a_call_that_works_gives_its_value() -> None:
    assert call_hiding_error_text(divmod, 7, 2) == (3, 1)
