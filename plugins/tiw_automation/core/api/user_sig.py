# SPDX-License-Identifier: Apache-2.0
"""The recording user: a name in the form that TIW requires, and the signature for its login.

TIW enters the room as a separate user. The signature is Tencent's TLSSigAPIv2
(https://www.tencentcloud.com/document/product/647/35166), made with the key that the IM and
TRTC consoles show for the application.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
import zlib

from tiw_automation.core.checks import as_integer, as_text, check_sdk_app_id, check_seconds
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown

DEFAULT_EXPIRE_S = 24 * 3600
LEAST_EXPIRE_S = 3600
"""TIW requires at least an hour; a recording lasts at most a day."""
LONGEST_USER_ID_BYTES = 60

_SHOWN = 200
# Tencent's own libraries write the seconds as 32 bits.
_EXPIRE_END_S = 2**31
_USER_ID = re.compile(r"[A-Za-z0-9_-]+")


def new_record_user_id(room_id: int, prefix: str = "tic_record_user") -> str:
    """Return a user for a room that nothing else uses.

    It has the form of the StartOnlineRecord page: ``tic_record_user_<RoomId>_<random>``.
    """
    return f"{prefix}_{room_id}_{secrets.token_hex(8)}"


def check_record_user_id(value: object, room_id: int) -> str:
    """Return a given RecordUserId.

    :raises ConfigurationError: it is not of the form ``tic_record_user_<RoomId>_<anything>``, has
        characters other than letters, digits, ``_`` and ``-``, or is longer than 60 bytes.
    """
    prefix = f"tic_record_user_{room_id}_"
    if (
        not isinstance(value, str)
        or not value.startswith(prefix)
        or len(value) == len(prefix)
        or len(value) > LONGEST_USER_ID_BYTES
        or not _USER_ID.fullmatch(value)
    ):
        raise ConfigurationError(
            f"record_user_id {shown(value, _SHOWN)} is invalid for room {room_id}.",
            hint=(
                f"It must begin with {prefix}, followed by letters, digits, _ or -, and have at "
                f"most {LONGEST_USER_ID_BYTES} characters; if it is left out, one is made up."
            ),
        )
    return value


def as_secret(value: object) -> str | None:
    """Return a key or a signature; None where it is not a text, is empty or has blanks.

    An integer becomes its digits: a template may have read them as a number.
    """
    text = as_text(value)
    return None if not text or " " in text or not text.isprintable() else text


def make_user_sig(
    sdk_app_id: int | str,
    user_id: str,
    key: str,
    *,
    expire_s: int = DEFAULT_EXPIRE_S,
    now: float | None = None,
) -> str:
    """Return the signature of a user.

    :param key: the application's secret key for signatures.
    :param expire_s: how long it is valid, in seconds; at least an hour.
    :param now: UNIX seconds, the present by default.
    :raises ConfigurationError: the key is not a text, is empty or has blanks, the user is not a
        text of printable characters, or the time is too short.
    """
    secret = as_secret(key)
    if secret is None:
        raise ConfigurationError(
            "user_sig_key must be the application's key, without blanks.",
            hint="The console of IM or TRTC shows it beside the SdkAppId.",
        )
    seconds = _check_expire_s(expire_s)
    user: object = user_id
    if not isinstance(user, str) or not user or not user.isprintable():
        raise ConfigurationError(f"user_id must be a user's name, not {shown(user_id)}.")
    app_id = check_sdk_app_id(sdk_app_id)
    made = int(time.time() if now is None else check_seconds("now", now))
    signed = (
        f"TLS.identifier:{user_id}\nTLS.sdkappid:{app_id}\nTLS.time:{made}\nTLS.expire:{seconds}\n"
    )
    digest = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    content = {
        "TLS.ver": "2.0",
        "TLS.identifier": user_id,
        "TLS.sdkappid": app_id,
        "TLS.expire": seconds,
        "TLS.time": made,
        "TLS.sig": base64.b64encode(digest).decode(),
    }
    packed = base64.b64encode(zlib.compress(json.dumps(content).encode())).decode()
    # Tencent's own URL-safe alphabet, which differs from the common one.
    return packed.translate(str.maketrans("+/=", "*-_"))


def given_or_made_sig(
    sdk_app_id: int,
    user_id: str,
    signature: str | None,
    key: str | None,
    name: str = "record_user_sig",
) -> str:
    """Return the signature that was given, or one that is made with the key that was given.

    :param name: the signature's option, for messages.

    :raises ConfigurationError: not exactly one of them was given, or it is invalid.
    """
    if (signature is None) == (key is None):
        raise ConfigurationError(
            f"Exactly one of {name} and user_sig_key is needed, "
            f"{'none' if signature is None else 'both'} given.",
            hint="Give the user's signature, or the key to make it with.",
        )
    if key is not None:
        return make_user_sig(sdk_app_id, user_id, key)
    checked = as_secret(signature)
    if checked is None:
        raise ConfigurationError(
            f"{name} must be a text without blanks.",
            hint="Give the signature that was made for the user.",
        )
    return checked


def _check_expire_s(value: object) -> int:
    seconds = as_integer(value)
    if seconds is None or not LEAST_EXPIRE_S <= seconds < _EXPIRE_END_S:
        raise ConfigurationError(
            f"A user signature must be valid for at least {LEAST_EXPIRE_S} s, not {shown(value)}."
        )
    return seconds
