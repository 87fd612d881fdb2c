# SPDX-License-Identifier: Apache-2.0
"""Tencent's two sites: separate accounts, hosts and consoles, and not the same actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """One site (https://www.tencentcloud.com/document/product/1176).

    :param host: of TIW's API.
    :param region: where the site is served from.
    :param sts_url: the site's Security Token Service.
    :param console_url: TIW's console.
    :param lists_running: whether it has the action ``DescribeRunningTasks``.
    """

    host: str
    region: str
    sts_url: str
    console_url: str
    lists_running: bool


SITES: Mapping[str, Site] = {
    "cn": Site(
        host="tiw.tencentcloudapi.com",
        region="ap-guangzhou",
        sts_url="https://sts.tencentcloudapi.com",
        console_url="https://console.cloud.tencent.com/tiw",
        lists_running=True,
    ),
    "intl": Site(
        host="tiw.intl.tencentcloudapi.com",
        region="ap-singapore",
        sts_url="https://sts.intl.tencentcloudapi.com",
        console_url="https://console.tencentcloud.com/tiw",
        lists_running=False,
    ),
}


def site_of(host: str) -> Site:
    """Return the site that a host belongs to; a host that is not Tencent's counts as Chinese."""
    return SITES["intl" if ".intl." in host else "cn"]
