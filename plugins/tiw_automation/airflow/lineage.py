# SPDX-License-Identifier: Apache-2.0
"""Videos as OpenLineage's datasets, in one form for every operator.

OpenLineage's provider is optional: it is imported only when it calls an operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def lineage(
    *, inputs: Iterable[str] = (), outputs: Iterable[str] = ()
) -> OperatorLineage[Any, Any]:
    """Return the datasets of these URLs; a name has no query string."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    def dataset(url: str) -> Dataset | None:
        try:
            parts = urlsplit(url)
        except ValueError:
            # Not a URL, so it has no name.
            return None
        # A connection in the URL is Airflow's own; a bucket's keys have no leading slash.
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "file":
            return Dataset(namespace="file", name=parts.path)
        name = parts.path if parts.scheme in ("http", "https") else parts.path.lstrip("/")
        return Dataset(namespace=f"{parts.scheme}://{host}", name=name)

    return OperatorLineage(
        inputs=[*filter(None, map(dataset, dict.fromkeys(inputs)))],
        outputs=[*filter(None, map(dataset, dict.fromkeys(outputs)))],
    )
