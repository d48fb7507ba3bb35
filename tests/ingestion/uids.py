"""UIDs for generated files, all of one length: random ones are now and then shorter, and so are the files then."""

from __future__ import annotations

import uuid

from pydicom.uid import UID, generate_uid


def new_uid() -> UID:
    """A UID of 64 characters, which no other call gives."""
    return generate_uid(entropy_srcs=[uuid.uuid4().hex])
