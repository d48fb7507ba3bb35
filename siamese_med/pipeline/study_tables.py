"""The tables that one run has read of its study: scans, pairs and alignments, each read once.

Every table is kept together with a digest of what it was made from. The digest is computed at each call, so a table
that another stage or another program has made out of date is never used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.study import table_schema
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study

if TYPE_CHECKING:
    import pandas as pd

NO_PAIRS = "the pair table is empty"
WHY_NO_PAIRS = (
    "a study needs two scans of a patient, or two patients; scans with the flag identity_conflict, placeholder_id or "
    "split_volume are not paired"
)


class StudyTables:
    """The tables of one study, for the length of one run.

    Parameters
    ----------
    study
        The study whose tables these are.

    Notes
    -----
    The stages of a run share the frames: nobody may change one in place.

    This is no dataclass on purpose. Prefect walks through the parameters of a task if they are dataclasses, lists or
    dictionaries, and would walk through whole tables.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._scans: tuple[str, pd.DataFrame] | None = None
        self._pairs: tuple[str, pd.DataFrame] | None = None
        self._prepared: dict[str, PreparedStudy] = {}

    def read_scans(self) -> pd.DataFrame:
        """Read the scan table, or return the one in memory while the catalogue holds the same scans.

        Returns
        -------
        pandas.DataFrame
            One row a scan, with tables.SCAN_COLUMNS.

        Raises
        ------
        EmptyInputError
            Nothing was ingested yet.
        """
        from siamese_med.ingestion.catalogue import catalogue

        # the digest first: scans that come in between are read, and make the next digest another one
        state = catalogue.digest_scans(self._study.catalogue_url)
        if self._scans is None or self._scans[0] != state:
            scans = catalogue.read_scan_table(self._study.catalogue_url)
            self._scans = state, table_schema.SCANS.validate(scans, "the catalogue's scan table")
        return self._scans[1]

    def read_pairs(self) -> pd.DataFrame:
        """Read the pair table, or return the one in memory while the file is the same.

        Returns
        -------
        pandas.DataFrame
            One row a pair, with tables.PAIR_COLUMNS.

        Raises
        ------
        EmptyInputError
            There is no pair table, or nothing in it.
        InputError
            The file cannot be used.
        """
        from siamese_med.errors import EmptyInputError
        from siamese_med.runtime import files
        from siamese_med.runtime.untrusted_input import read_untrusted_table

        path = self._study.pairs
        if not path.is_file():
            raise EmptyInputError("there is no pair table yet: run `siamese-med pair` first")
        state = files.compute_file_digest(path)
        if self._pairs is None or self._pairs[0] != state:
            pairs = read_untrusted_table(path, ("scan_a", "scan_b", "subject_a", "subject_b"))
            self._pairs = state, table_schema.PAIRS.validate(pairs, f"the table {path.name}")
        pairs = self._pairs[1]
        if pairs.empty:
            raise EmptyInputError(f"{NO_PAIRS}: {WHY_NO_PAIRS}; what came in is on the page ingest.html")
        return pairs

    def prepare_scans(self, model: Path | None = None, scans: pd.DataFrame | None = None) -> PreparedStudy:
        """Align all scans to a template, or return the alignments in memory while they are made from the same.

        Parameters
        ----------
        model
            Folder of the model on whose template the scans are to lie; None for the study's own template.
        scans
            The scan table, where the caller has read it already.

        Returns
        -------
        PreparedStudy
            The alignment table and the template.
        """
        from siamese_med.network.model_folder import find_checked_template
        from siamese_med.preparation import aligned_volumes
        from siamese_med.preparation import study_template as templates

        config = self._study.config.prepare
        template = (
            find_checked_template(model) if model is not None else templates.check_configured_template(config.template)
        )
        scans = self.read_scans() if scans is None else scans
        inputs = scans, self._study.data, template, config
        state = None if scans.empty else aligned_volumes.digest_inputs(*inputs)
        if state is not None and state in self._prepared:
            return self._prepared[state]
        prepared = aligned_volumes.prepare_scans(*inputs)
        table_schema.ALIGNMENTS.validate(prepared.alignments, "the table alignments.parquet")
        state = state or aligned_volumes.digest_inputs(*inputs)  # a study's first preparation makes its template
        assert state is not None
        self._prepared[state] = prepared
        return prepared
