# SPDX-License-Identifier: Apache-2.0
"""What the tests of tests/provider/real know of the Airflow that they share."""

from __future__ import annotations

USER_SIG_KEY = "the-key-that-signs-users"
CALLBACK_KEY = "the-key-that-signs-callbacks"
STORE_KEY = "storesecretkey"
"""The secret key of the connection ``store``, an S3 with the bucket :data:`BUCKET`."""
BUCKET = "lessons"
LINEAGE = "lineage.json"
"""The file below Airflow's home to which OpenLineage writes."""
