# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, make_user_sig, new_record_user_id
from tiw_automation.core.api.user_sig import check_record_user_id

KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"


def content(signature: str) -> dict[str, object]:
    packed = signature.translate(str.maketrans("*-_", "+/="))
    found: dict[str, object] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_it_equals_the_signature_of_tencents_own_package() -> None:
    # tls-sig-api-v2 1.1, gen_sig() at this time.
    made = make_user_sig(1400000000, "tic_record_user_1_a", KEY, expire_s=86400, now=1700000000)
    assert content(made) == {
        "TLS.ver": "2.0",
        "TLS.identifier": "tic_record_user_1_a",
        "TLS.sdkappid": 1400000000,
        "TLS.expire": 86400,
        "TLS.time": 1700000000,
        "TLS.sig": "2GEDVtV66nPlwz44u8mE5UM2qVPvocBhpYdZTBEUVaU=",
    }


def test_it_is_safe_in_a_url() -> None:
    for number in range(50):
        made = make_user_sig(1400000000, f"tic_record_user_1_{number}", KEY, now=1700000000)
        assert not set(made) & set("+/=")


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "a\n", "a\u00a0", "a\ud800", None, {"a": 7}, ["a"], True, 1.5, b"a"]
)
def test_an_invalid_key(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="user_sig_key"):
        make_user_sig(1400000000, "tic_record_user_1_a", key)


def test_a_key_of_digits_may_come_as_a_number() -> None:
    made = make_user_sig(1400000000, "tic_record_user_1_a", 12345, now=1700000000)  # type: ignore[arg-type]
    assert made == make_user_sig(1400000000, "tic_record_user_1_a", "12345", now=1700000000)


def test_it_must_be_valid_for_an_hour() -> None:
    with pytest.raises(ConfigurationError, match="3600 s"):
        make_user_sig(1400000000, "tic_record_user_1_a", KEY, expire_s=600)


def test_a_made_up_name_is_valid_and_unique() -> None:
    names = {new_record_user_id(4294967295) for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert check_record_user_id(name, 4294967295) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "teacher",
        "tic_record_user_7_",
        "tic_record_user_8_a",
        "tic_record_user_7_ä",
        "tic_record_user_7_a b",
        "tic_record_user_7_" + "a" * 43,
        7,
        None,
    ],
)
def test_a_name_that_tiw_refuses(name: object) -> None:
    with pytest.raises(ConfigurationError, match="tic_record_user_7_"):
        check_record_user_id(name, 7)


def test_the_longest_name() -> None:
    name = "tic_record_user_7_" + "a" * 42
    assert len(name) == 60
    assert check_record_user_id(name, 7) == name
