# SPDX-License-Identifier: Apache-2.0
"""Tencent's user signature (TLSSigAPIv2), with which a recording enters its room."""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from typing import Any

MAX_BYTES = 16 * 1024


def make(key: str, sdk_app_id: int, user_id: str, now: float, seconds: int = 86400) -> str:
    """Return a signature for ``user_id`` that is valid for ``seconds`` from ``now``."""
    fields: dict[str, Any] = {
        "TLS.ver": "2.0",
        "TLS.identifier": user_id,
        "TLS.sdkappid": sdk_app_id,
        "TLS.expire": seconds,
        "TLS.time": int(now),
    }
    fields["TLS.sig"] = _signature(key, fields)
    packed = base64.b64encode(zlib.compress(json.dumps(fields).encode())).decode()
    return packed.translate(str.maketrans("+/=", "*-_"))


def problem(signature: str, key: str, sdk_app_id: int, user_id: str, now: float) -> str | None:
    """Return what is wrong with a signature, as the service describes it, or ``None``.

    :param key: of the application
    :param now: UNIX seconds
    """
    try:
        packed = base64.b64decode(signature.translate(str.maketrans("*-_", "+/=")), validate=True)
        fields = json.loads(zlib.decompressobj().decompress(packed, MAX_BYTES))
        expires = int(fields["TLS.time"]) + int(fields["TLS.expire"])
        signed = str(fields["TLS.sig"])
        wanted = _signature(key, fields)
    except (ValueError, zlib.error, KeyError, TypeError):
        return "serSig illegal"
    if str(fields["TLS.sdkappid"]) != str(sdk_app_id):
        return "serSig sdkappid mismatch"
    if fields["TLS.identifier"] != user_id:
        return "serSig identifier mismatch"
    if not hmac.compare_digest(signed.encode(), wanted.encode()):
        return "serSig verification failed"
    return "serSig expired" if expires < now else None


def _signature(key: str, fields: dict[str, Any]) -> str:
    names = ["TLS.identifier", "TLS.sdkappid", "TLS.time", "TLS.expire"]
    if "TLS.userbuf" in fields:
        names.append("TLS.userbuf")
    text = "".join(f"{name}:{fields[name]}\n" for name in names)
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), "sha256")).decode()
