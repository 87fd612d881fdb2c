# SPDX-License-Identifier: Apache-2.0
"""Requests on the wire: both signatures, accounts, clocks and sizes; and what answers have."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.signature import sign_v1

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]
Raw = tuple[int, dict[str, str], dict[str, Any]]

FORM = "application/x-www-form-urlencoded"


def send(url: str, headers: dict[str, str], body: bytes | None) -> Raw:
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), json.load(answer)["Response"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def tc3(
    simulator: Simulator,
    body: bytes = b"{}",
    *,
    extra: dict[str, str] | None = None,
    unsigned: bool = False,
    path: str = "/",
    timestamp: int | None = None,
    day: str | None = None,
    content_type: str = "application/json",
    version: str = "2019-09-19",
    action: str = "DescribeOnlineRecordCallback",
    authorization: str | None = None,
    region: str = "ap-singapore",
) -> Raw:
    """Sign a request as documented, without the simulator's own code."""
    when = int(time.time()) if timestamp is None else timestamp
    date = day or datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d")
    host = f"127.0.0.1:{simulator.port}"
    signed = {"content-type": content_type, "host": host}
    signed |= {name.lower(): value for name, value in (extra or {}).items()}
    names = ";".join(sorted(signed))
    payload = b"UNSIGNED-PAYLOAD" if unsigned else body
    canonical = "POST\n/\n\n"
    canonical += "".join(f"{name}:{signed[name].strip().lower()}\n" for name in sorted(signed))
    canonical += f"\n{names}\n{hashlib.sha256(payload).hexdigest()}"
    scope = f"{date}/tiw/tc3_request"
    text = f"TC3-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"TC3" + simulator.secret_key.encode()
    for part in (date, "tiw", "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": content_type,
        "X-TC-Action": action,
        "X-TC-Version": version,
        "X-TC-Region": region,
        "X-TC-Timestamp": str(when),
        "Authorization": authorization
        or (
            f"TC3-HMAC-SHA256 Credential={simulator.secret_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        ),
        **(extra or {}),
        **({"X-TC-Content-SHA256": "UNSIGNED-PAYLOAD"} if unsigned else {}),
    }
    return send(f"{simulator.endpoint}{path}", {k: v for k, v in headers.items() if v}, body)


def asking(simulator: Simulator, **more: Any) -> bytes:
    return json.dumps({"SdkAppId": simulator.sdk_app_id, **more}).encode()


def code(raw: Raw) -> str:
    status, headers, response = raw
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert response["RequestId"]
    return str(response.get("Error", {}).get("Code", ""))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"path": "/?"},
        {"unsigned": True},
        {"extra": {"X-TC-Nonce": " Some Value "}},
        {"content_type": "application/json; charset=utf-8"},
    ],
)
def test_ways_to_sign(tiw_simulator: Simulator, given: dict[str, Any]) -> None:
    assert code(tc3(tiw_simulator, asking(tiw_simulator), **given)) == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"authorization": "TC3-HMAC-SHA256 nonsense"}, "AuthFailure.InvalidAuthorization"),
        ({"day": "2019-02-25"}, "AuthFailure.SignatureFailure"),
        ({"timestamp": 1551113065}, "AuthFailure.SignatureExpire"),
        ({"version": "2018-01-01"}, "NoSuchVersion"),
        ({"version": ""}, "MissingParameter"),
        ({"action": ""}, "MissingParameter"),
        ({"action": "DescribeRecordSearch"}, "InvalidAction"),
        ({"region": "ap-beijing"}, "UnsupportedRegion"),
        ({"body": b"{"}, "InvalidRequest"),
        ({"body": b"[]"}, "InvalidRequest"),
        ({"body": b"[" * 100_000}, "InvalidRequest"),
        ({"content_type": FORM}, "InvalidRequest"),
        ({"extra": {"X-TC-Token": "surplus"}}, "AuthFailure.TokenFailure"),
    ],
)
def test_what_the_gateway_refuses(
    tiw_simulator: Simulator, given: dict[str, Any], expected: str
) -> None:
    body = given.pop("body", asking(tiw_simulator))
    assert code(tc3(tiw_simulator, body, **given)) == expected


@pytest.mark.parametrize("sign_method", ["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"])
@pytest.mark.parametrize("http_method", ["GET", "POST"])
def test_the_sdk_with_each_way_to_sign(
    call: Call, code_of: CodeOf, sign_method: str, http_method: str
) -> None:
    with Simulator(speed=0) as simulator:
        way: dict[str, Any] = {"sign_method": sign_method, "http_method": http_method}
        start: dict[str, Any] = {
            "RoomId": 5,
            "RecordUserId": "tic_record_user_5_1",
            "RecordUserSig": "a+b/c=&d",
            "Extras": ["MIX_STREAM"],
            "MixStream": {"Enabled": True, "ModelId": 2, "DisableAudio": False},
            "Whiteboard": {"Width": 800, "Height": 600, "InitParam": '{"ratio":"16:9"}'},
            "RecordControl": {
                "Enabled": True,
                "StreamControls": [{"StreamId": "teacher", "DisableRecord": True}],
            },
        }
        task_id = call(simulator, "StartOnlineRecord", **way, **start)["TaskId"]
        simulator.advance(10)
        call(simulator, "StopOnlineRecord", **way, TaskId=task_id)
        simulator.advance(10)
        answer = call(simulator, "DescribeOnlineRecord", **way, TaskId=task_id)
        videos = [(v["VideoType"], v["UserId"], v["Width"]) for v in answer["VideoInfos"]]
        assert videos == [(0, "student", 640), (2, "", 800), (3, "tic_mixstream_5_2", 1624)]
        assert code_of(simulator, "StartOnlineRecord", **way, **{**start, "RoomId": "five"}) == (
            "InvalidParameter.BodyParameterTypeUnmatched"
        )
        bad_extra = {**start, "Extras": ["MIXED"]}
        code = code_of(simulator, "StartOnlineRecord", **way, **bad_extra)
        assert code == "InvalidParameter.InvalidExtra"
        wrong: tuple[str, str, str | None] = ("AKIDnobody", simulator.secret_key, None)
        code = code_of(simulator, "DescribeOnlineRecord", **way, keys=wrong, TaskId=task_id)
        assert code == "AuthFailure.SecretIdNotFound"
        wrong = (simulator.secret_id, "wrongkeywrongkeywrongkey", None)
        code = code_of(simulator, "DescribeOnlineRecord", **way, keys=wrong, TaskId=task_id)
        assert code == "AuthFailure.SignatureFailure"
        wrong = (simulator.secret_id, simulator.secret_key, "surplus")
        code = code_of(simulator, "DescribeOnlineRecord", **way, keys=wrong, TaskId=task_id)
        assert code == "AuthFailure.TokenFailure"
        assert simulator.requests["StartOnlineRecord"] == 3


def v1(simulator: Simulator, method: str = "GET", **changes: str | None) -> Raw:
    given: dict[str, str | None] = {
        "Action": "DescribeOnlineRecordCallback",
        "Version": "2019-09-19",
        "Region": "ap-singapore",
        "Timestamp": str(int(time.time())),
        "Nonce": "1",
        "SecretId": simulator.secret_id,
        "SdkAppId": str(simulator.sdk_app_id),
        **changes,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    if "Signature" not in changes:
        parameters["Signature"] = sign_v1(
            simulator.secret_key, method, f"127.0.0.1:{simulator.port}", parameters
        )
    text = urllib.parse.urlencode(parameters)
    if method == "GET":
        return send(f"{simulator.endpoint}/?{text}", {}, None)
    return send(simulator.endpoint, {"Content-Type": FORM}, text.encode())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"SignatureMethod": "HmacSHA256"}, ""),
        ({"SecretId": None}, "MissingParameter"),
        ({"Nonce": None}, "MissingParameter"),
        ({"Action": None}, "MissingParameter"),
        ({"Timestamp": "1551113065"}, "AuthFailure.SignatureExpire"),
        ({"Timestamp": "soon"}, "InvalidParameterValue"),
        ({"Signature": "x"}, "AuthFailure.SignatureFailure"),
        ({"Signature": "x", "SignatureMethod": "MD5"}, "InvalidParameterValue"),
        ({"SdkAppId.x": "1"}, "InvalidParameter"),
        ({"Extra.0": "1"}, "UnknownParameter"),
    ],
)
def test_the_old_signature(
    tiw_simulator: Simulator, method: str, changes: dict[str, str | None], expected: str
) -> None:
    assert code(v1(tiw_simulator, method, **changes)) == expected


def test_the_sizes_that_are_too_large(tiw_simulator: Simulator) -> None:
    too_large = "RequestSizeLimitExceeded"
    assert code(v1(tiw_simulator, "GET", X="x" * 33_000)) == too_large
    assert code(v1(tiw_simulator, "GET", X="x" * 20_000)) == "UnknownParameter"
    assert code(v1(tiw_simulator, "POST", X="x" * 1_100_000)) == too_large
    assert code(v1(tiw_simulator, "POST", X="x" * 900_000)) == "UnknownParameter"
    large = asking(tiw_simulator, X="x" * 5_000_000)
    assert code(tc3(tiw_simulator, large)) == "UnknownParameter"


def test_more_than_ten_megabytes_are_not_read(tiw_simulator: Simulator) -> None:
    head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10485761\r\n\r\n"
    with socket.create_connection(("127.0.0.1", tiw_simulator.port), timeout=10) as peer:
        peer.sendall(head.encode())
        answer = http.client.HTTPResponse(peer)
        answer.begin()
        assert "RequestSizeLimitExceeded" in answer.read().decode()


@pytest.mark.parametrize("skew", [-600, 600])
def test_a_client_learns_its_clocks_error_from_the_date(skew: int) -> None:
    with Simulator(clock=lambda: time.time() + skew) as simulator:
        raw = tc3(simulator, asking(simulator))
        assert code(raw) == "AuthFailure.SignatureExpire"
        server = parsedate_to_datetime(raw[1]["Date"]).timestamp()
        assert abs(server - time.time() - skew) < 5
        again = tc3(simulator, asking(simulator), timestamp=int(server))
        assert code(again) == ""
    with Simulator(clock=lambda: time.time() + 290) as simulator:
        assert code(tc3(simulator, asking(simulator))) == ""


def test_several_accounts(tiw_simulator: Simulator, call: Call, code_of: CodeOf) -> None:
    tiw_simulator.add("t", timeline=[])
    new = ("AKIDnewkeynewkeynewkey", "newsecretnewsecretnewsecret", None)
    unknown = "AuthFailure.SecretIdNotFound"
    assert code_of(tiw_simulator, "DescribeOnlineRecord", keys=new, TaskId="t") == unknown
    tiw_simulator.add_account(*new)
    call(tiw_simulator, "DescribeOnlineRecord", keys=new, TaskId="t")
    tiw_simulator.remove_account(tiw_simulator.secret_id)
    assert code_of(tiw_simulator, "DescribeOnlineRecord", TaskId="t") == unknown
    call(tiw_simulator, "DescribeOnlineRecord", keys=new, TaskId="t")
    with pytest.raises(KeyError):
        tiw_simulator.remove_account("AKIDnobody")


def test_keys_with_a_token(call: Call, code_of: CodeOf) -> None:
    with Simulator(token="session-token") as simulator:
        simulator.add("t", timeline=[])
        keys = (simulator.secret_id, simulator.secret_key, "session-token")
        call(simulator, "DescribeOnlineRecord", keys=keys, TaskId="t")
        code = code_of(simulator, "DescribeOnlineRecord", TaskId="t")
        assert code == "AuthFailure.TokenFailure"


def test_counts(tiw_simulator: Simulator) -> None:
    tc3(tiw_simulator, asking(tiw_simulator), extra={"X-TC-RequestClient": "client_1"})
    tc3(tiw_simulator, asking(tiw_simulator, Surprise=1))
    stats = tiw_simulator.stats()
    assert stats["requests"] == {"DescribeOnlineRecordCallback": 2}
    assert stats["by_request_client"]["client_1"] == 1
    assert stats["errors"] == {"UnknownParameter": 1}
    tiw_simulator.reset_stats()
    assert tiw_simulator.requests == {}


def test_other_paths_and_methods(tiw_simulator: Simulator) -> None:
    for method, path in [("GET", "/x"), ("PUT", "/"), ("GET", "/_simulator/x")]:
        request = urllib.request.Request(tiw_simulator.endpoint + path, method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        caught.value.close()
        assert caught.value.code == 404
