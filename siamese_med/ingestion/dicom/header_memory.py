"""Reuse of what was read of one slice's header for the next slices, since nearly all elements are equal.

A reader of a plain header is watched: the elements that it asks for, and their bytes, decide its result. Where these
bytes are the same in another header, it would take the same way through the same values, so the result is given at
once. Readers must depend on nothing else, and what they return must not be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from siamese_med.ingestion.dicom.fast_header import PlainHeader

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.tags import DicomHeader

MAX_WAYS, MAX_RESULTS = 6, 256
"""Sets of elements that a reader may have asked for, and results of each, that are kept."""

Result = TypeVar("Result")


class HeaderMemory(Generic[Result]):
    """A reader of headers that gives equal answers to equal bytes.

    Parameters
    ----------
    read
        Takes a header and hashable arguments. Where it raises, nothing is kept.
    """

    def __init__(self, read: Callable[..., Result]) -> None:
        self._read = read
        self._ways: list[tuple[tuple[int, ...], dict[Hashable, Result]]] = []

    def __call__(self, dataset: DicomHeader, *arguments: Hashable) -> Result:
        """Return what the reader returns for this header."""
        if not isinstance(dataset, PlainHeader):
            return self._read(dataset, *arguments)
        for place, (tags, results) in enumerate(self._ways):
            found = results.get((arguments, dataset.get_bytes(tags)))
            if found is not None:
                if place:
                    self._ways.insert(0, self._ways.pop(place))
                return found
        with dataset.watch() as asked:
            result = self._read(dataset, *arguments)
        self._keep(tuple(asked), dataset, arguments, result)
        return result

    def _keep(self, tags: tuple[int, ...], dataset: PlainHeader, arguments: Hashable, result: Result) -> None:
        results = next((one for known, one in self._ways if known == tags), None)
        if results is None:
            results = cast("dict[Hashable, Result]", {})
            self._ways.insert(0, (tags, results))
            del self._ways[MAX_WAYS:]
        if len(results) >= MAX_RESULTS:
            results.clear()
        results[arguments, dataset.get_bytes(tags)] = result
