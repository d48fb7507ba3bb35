"""The dataset_description.json of the BIDS derivatives that siamese-med writes."""

from __future__ import annotations

ENHANCED_T1_SUFFIX = "ce-agent_T1w"
"""End of the id of a contrast-enhanced T1 scan: BIDS tells it by the entity `ce`. The agent itself is not recorded."""


def make_dataset_description(name: str, **more: object) -> dict[str, object]:
    """Return the content of a dataset_description.json, as BIDS 1.10.0 defines it.

    Parameters
    ----------
    name
        Title of the data set.
    more
        Further keys, such as `DatasetLinks`.

    Returns
    -------
    dict
        JSON values, with the name and version of siamese-med as `GeneratedBy`.

    Examples
    --------
    >>> make_dataset_description("Scans")["DatasetType"]
    'derivative'
    """
    return {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [_maker()], **more}


def _maker() -> dict[str, str]:
    from importlib import metadata

    try:
        return {"Name": "siamese-med", "Version": metadata.version("siamese-med")}
    except metadata.PackageNotFoundError:  # run from its source folder
        return {"Name": "siamese-med"}
