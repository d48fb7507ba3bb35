"""The dataset_description.json of the BIDS derivatives that siamese-med writes."""

from __future__ import annotations

ENHANCED_ENTITY = "ce-agent"
"""BIDS entity in the id of a contrast-enhanced scan. Which agent it was is not recorded."""

ENHANCED_T1_SUFFIX = f"{ENHANCED_ENTITY}_T1w"
"""End of the id of a contrast-enhanced T1 scan."""


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
