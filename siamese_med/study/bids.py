"""What a BIDS derivative of ours says of itself."""

from __future__ import annotations

from typing import Any


def make_dataset_description(name: str, **more: Any) -> dict[str, Any]:
    """The content of a dataset_description.json."""
    return {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [_maker()], **more}


def _maker() -> dict[str, str]:
    from importlib import metadata

    try:
        return {"Name": "siamese-med", "Version": metadata.version("siamese-med")}
    except metadata.PackageNotFoundError:  # run from its source folder
        return {"Name": "siamese-med"}
