# SPDX-License-Identifier: Apache-2.0
"""Arbitrary callbacks, with and without a right signature."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.core import Callback, CallbackError, CallbackForged, TiwError, parse_callback
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES, sign

KEY = "a-callback-key-of-the-tests"
EXPIRES = 1588040109
NOW = EXPIRES - 60
SIGNED = {"ExpireTime": EXPIRES, "Sign": sign(KEY, EXPIRES)}
# Many times the usual duration, for a busy machine.
BOUND_S = 2.0

NAMES = ("EventType", "SdkAppId", "Timestamp", "ExpireTime", "Sign", "EventData", "TaskId", "Error")
names = st.sampled_from(NAMES) | st.text(max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(("t1", "OnlineRecordFinished", "1400000001", *SIGNED.values())),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=15,
)
objects = st.dictionaries(names, values, max_size=8)
fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\\u0053", b"\xff", b"\xed\xa0\x80"]
    + [b'"%s"' % name.encode() for name in NAMES]
    + [json.dumps(value).encode() for value in SIGNED.values()]
)


def read(body: Any) -> Callback | CallbackError:
    """Return the callback or the error of a post, and check the time that it took."""
    began = time.perf_counter()
    found: Callback | CallbackError
    try:
        found = parse_callback(body, KEY, now=NOW)
    except CallbackError as error:
        found = error
    assert time.perf_counter() - began < BOUND_S
    if isinstance(found, CallbackError):
        assert str(found).isprintable()
        assert len(str(found)) < 500
    if isinstance(found, Callback):
        assert 0 < found.sdk_app_id < 2**63
        assert found.task_id is None or 0 < len(found.task_id) <= 128
        assert isinstance(found.timestamp, int | None)
        assert found.record is None or found.record.task_id == found.task_id
        assert found.error is None or isinstance(found.error, TiwError)
        others = (found.room_id, found.pause_time, found.stop_time, found.estimated_stop_time)
        assert all(isinstance(number, int | None) for number in others)
        assert isinstance(found.record_user_id, str | None)
    return found


@examples()
@given(st.binary(max_size=300) | st.lists(fragments, max_size=60).map(b"".join) | st.text())
def test_any_bytes(body: bytes | str) -> None:
    found = read(body)
    # A body without the right signature in its place is never a callback.
    if isinstance(found, Callback):
        assert SIGNED.items() <= found.raw.items()


@examples()
@given(objects, values, st.booleans())
def test_any_object_with_a_right_signature(
    extra: dict[str, Any], data: Any, is_plain: bool
) -> None:
    """The fields read from the bytes equal those that JSON reads."""
    given_ = {"EventType": "OnlineRecordFinished", "SdkAppId": 14, "EventData": data, **extra}
    body = json.dumps({**given_, **SIGNED}, ensure_ascii=is_plain).encode(errors="surrogatepass")
    in_bytes, as_object = read(body), read(json.loads(body))
    if isinstance(in_bytes, Callback):
        assert in_bytes == as_object
        assert in_bytes.raw == json.loads(body) or any(value != value for value in extra.values())
    else:
        assert not isinstance(in_bytes, CallbackForged)
        assert isinstance(as_object, CallbackError) or len(body) > 1000


@examples()
@given(st.lists(st.tuples(names, values), max_size=8), st.lists(st.tuples(names, values)))
def test_names_that_appear_twice(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    """The last one counts, as in JSON, even where the signature is then wrong."""
    pairs = [*before, *SIGNED.items(), ("EventType", "x"), ("SdkAppId", 14), *after]
    members = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs]
    body = "{" + ",".join(members) + "}"
    found, meant = read(body), json.loads(body)
    right = (meant["ExpireTime"], meant["Sign"]) == tuple(SIGNED.values())
    if not right or type(meant["ExpireTime"]) is not int:
        assert isinstance(found, CallbackError)
    else:
        assert not isinstance(found, CallbackForged)


@examples(50)
@given(st.lists(fragments, min_size=1, max_size=8).map(b"".join), st.booleans())
def test_the_longest_body_of_any_pattern(pattern: bytes, is_signed: bool) -> None:
    head = b'{"EventType":"x","SdkAppId":14,"EventData":{"TaskId":"t1","x":['
    signature = SIGNED["Sign"] if is_signed else "0" * 32
    tail = b'1]},"ExpireTime":%d,"Sign":"%s"}' % (EXPIRES, str(signature).encode())
    count = (MAX_BODY_BYTES - len(head) - len(tail)) // len(pattern)
    began = time.perf_counter()
    with contextlib.suppress(CallbackError):
        parse_callback(head + pattern * count + tail, KEY, now=NOW)
    assert time.perf_counter() - began < BOUND_S
