"""Extras of the installation that a run needs, checked before it begins."""

from __future__ import annotations

from siamese_med.ingestion.catalogue.tables import require_database_driver
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.runtime.extras import require_extra
from siamese_med.study.input_source import Pull


def require_needed_extras(order: RunRequest, recorded: bool = True) -> None:
    """Check that every extra is installed that a request needs.

    The stages check the same, each for itself. Here it is checked before Prefect's server is started, and before a
    schedule waits for the night.

    Parameters
    ----------
    order
        Request of a command or a study file.
    recorded
        Whether Prefect records the run. Without it no run works on a cluster.

    Raises
    ------
    MissingExtraError
        If an extra is missing; the message has the command that installs it.
    """
    if isinstance(order.source, Pull):
        require_extra("pacs")
    stages.require_report_extras(order.extras)
    if recorded and order.study.config.run.dask:
        require_extra("dask")
    require_database_driver(order.study.catalogue_url)
