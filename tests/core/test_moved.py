# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from importlib import import_module

import pytest

# What the versions 0.1 of the collection import, by module.
USED_BY_0_1 = {
    "callbacks": "PLAIN_HTTP SHORTEST_KEY check_callback_key check_callback_url is_plain_http",
    "confirmation": "CallbackConfirmer",
    "download": "shown_url",
    "options": "SETTINGS read_options",
    "record_events": "TRANSITION event_id to_event",
    "record_feed": "RecordFeed",
    "running": "RunningListUnavailable check_lists_running",
    "start": "Option start_params",
}


@pytest.mark.parametrize("module", USED_BY_0_1)
def test_the_collection_of_0_1_finds_what_it_imports(module: str) -> None:
    old = import_module(f"tiw_automation.core.{module}")
    for name in USED_BY_0_1[module].split():
        with pytest.warns(DeprecationWarning, match=f"core.{module} has moved to"):
            assert getattr(old, name) is not None


def test_a_name_that_was_not_moved_does_not_warn() -> None:
    from tiw_automation.core.formatting import escaped
    from tiw_automation.core.records import check_sdk_app_id

    assert escaped("a") == "a"
    assert check_sdk_app_id(1) == 1


def test_an_unknown_name_of_an_old_module_is_an_import_error() -> None:
    with pytest.warns(DeprecationWarning, match="has moved"), pytest.raises(ImportError):
        from tiw_automation.core.start import no_such_name  # type: ignore[import-not-found]  # noqa: F401
