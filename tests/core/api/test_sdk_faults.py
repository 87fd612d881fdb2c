# SPDX-License-Identifier: Apache-2.0
"""The faults of the SDK's synchronous client, and the tests that show that each is mended."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import ServerError, TiwClient, TransportError

FAULTS = {
    "a retryer that discards successes and starts a recording twice": (
        "test_sdk_faults.test_no_retryer_of_the_sdk_is_used",
        "test_actions.test_a_lost_answer_never_starts_a_second_recording",
    ),
    "an error is lost when its Content-Type carries a charset": (
        "test_transport.test_an_error_is_found_in_any_http_answer",
    ),
    "the message of an HTTP error is bytes, and its RequestId lost": (
        "test_transport.test_an_error_is_found_in_any_http_answer",
        "test_sdk_faults.test_messages_are_text",
    ),
    "JSON, Key and Chunked errors come through raw": (
        "test_transport.test_what_is_not_an_answer",
        "test_transport.test_an_error_without_a_request_id_has_its_class",
        "test_sdk_faults.test_a_chunked_answer_that_breaks_off",
    ),
    "REQUESTS_CA_BUNDLE and SSL_CERT_FILE are ignored": (
        "test_tls.test_the_environments_bundle_is_trusted",
    ),
    "a region breaker that answers with AttributeError": (
        "test_sdk_faults.test_no_region_breaker_is_used",
    ),
    "NO_PROXY is compared with the port and knows no wildcard": (
        "test_transport.test_proxies_of_the_environment",
    ),
    "~/.netrc replaces the signature": (
        "test_transport.test_a_netrc_does_not_replace_the_signature",
    ),
    "a server that sends byte by byte holds a call without limit": (
        "test_transport.test_a_call_that_hangs_ends_at_its_deadline",
        "test_transport.test_a_process_whose_call_hangs_can_exit",
    ),
    "a pool of ten connections, and warnings when more threads call": (
        "test_transport.test_one_client_serves_many_threads",
    ),
    "a request client with a wrong form is dropped": (
        "test_transport.test_connections_are_kept_and_headers_are_fresh",
    ),
    "models drop new fields": ("test_client.test_a_finished_recording",),
    "null lists become None": ("test_record.test_an_absent_null_or_zero_field_keeps_its_key",),
    "every call fails under -W error": (
        "test_transport.test_warnings_as_errors_do_not_break_a_call",
    ),
    "the caller's headers are changed and keep the signature": (
        "test_sdk_faults.test_the_callers_parameters_are_not_changed",
    ),
    "debug logs show headers and bodies": (
        "test_transport.test_no_secret_in_any_log",
        "test_sdk_faults.test_no_user_signature_in_any_log",
    ),
    "messages come in Chinese": ("test_transport.test_connections_are_kept_and_headers_are_fresh",),
    "nothing corrects the clock that signs": (
        "test_actions.test_a_wrong_clock_is_corrected_and_logged",
    ),
    "a token in the environment is ignored": (
        "test_credentials.test_a_token_comes_with_the_environments_pair_only",
    ),
    "quotes in the SDK's file of keys count as part of them": (
        "test_credentials.test_the_quotes_of_the_sdks_own_example_are_removed",
    ),
    "a file of keys without [default] ends in AttributeError": (
        "test_credentials.test_mistakes_in_the_sdks_file",
    ),
    "outside Tencent's cloud it waits for the metadata without limit": (
        "test_actions.test_metadata_that_hang_do_not_hold_up_a_client",
    ),
}


@pytest.mark.parametrize("test", sorted({test for tests in FAULTS.values() for test in tests}))
def test_the_test_of_a_fault_exists(test: str) -> None:
    module, _, name = test.partition(".")
    (path,) = Path(__file__).parents[1].rglob(f"{module}.py")
    spec = importlib.util.spec_from_file_location(f"_of_the_table_{module}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    assert callable(getattr(loaded, name))


def client(port: int) -> TiwClient:
    return TiwClient(
        secret_id="AKIDexample",
        secret_key="keyexample",
        sdk_app_id=1,
        endpoint=f"http://127.0.0.1:{port}",
        timeout=2.0,
    )


def test_no_retryer_of_the_sdk_is_used() -> None:
    assert client(1)._sdk.profile.retryer is None


def test_no_region_breaker_is_used() -> None:
    assert client(1)._sdk.circuit_breaker is None


def test_messages_are_text(rude: Any) -> None:
    page = b"HTTP/1.1 503 Busy\r\nContent-Length: 6\r\n\r\n<html>"
    with rude.rude_server(rude.answer(page)) as (port, _), pytest.raises(ServerError) as caught:
        client(port).call("DescribeOnlineRecord", {})
    assert "b'" not in str(caught.value)
    assert "HTTP 503" in caught.value.message


def test_a_chunked_answer_that_breaks_off(rude: Any) -> None:
    page = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"
    with rude.rude_server(rude.answer(page)) as (port, _), pytest.raises(TransportError):
        client(port).call("DescribeOnlineRecord", {})


BODY = b'{"Response": {"RequestId": "r-1"}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def test_the_callers_parameters_are_not_changed(rude: Any) -> None:
    params = {"SdkAppId": 1, "Whiteboard": {"Width": 5}}
    before = json.dumps(params)
    with rude.rude_server(rude.answer(ANSWER)) as (port, _):
        client(port).call("StartOnlineRecord", params)
    assert json.dumps(params) == before


def test_no_user_signature_in_any_log(rude: Any, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        rude.rude_server(rude.answer(ANSWER)) as (port, _),
    ):
        client(port).call("StartOnlineRecord", {"RecordUserSig": "eJyrVgrxCdY"})
    assert "eJyrVgrxCdY" not in caplog.text
    assert "keyexample" not in caplog.text
