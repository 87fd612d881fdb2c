# SPDX-License-Identifier: Apache-2.0
"""The provider's description for Airflow.

Every Airflow process imports it, so it imports nothing itself.
"""

from __future__ import annotations

from typing import Any

_OPTIONAL = ["string", "null"]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form of Airflow's ``provider_info.schema.json``."""
    integration = "Tencent Cloud Interactive Whiteboard"
    package = "tiw_automation.airflow"
    return {
        # Airflow refuses to start unless this is the distribution's name.
        "package-name": "tiw-automation",
        "name": "Tencent Cloud Interactive Whiteboard",
        "description": "Waits for TIW recordings and other tasks without a worker, and pushes "
        "the URLs of their results to XCom.",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://www.tencentcloud.com/document/product/1176",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": integration, "python-modules": [f"{package}.hooks"]}],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [f"{package}.operators", f"{package}.task_operators"],
            }
        ],
        "extra-links": [f"{package}.links.TiwConsoleLink", f"{package}.links.TiwReplayLink"],
        "sensors": [{"integration-name": integration, "python-modules": [f"{package}.sensors"]}],
        "triggers": [{"integration-name": integration, "python-modules": [f"{package}.triggers"]}],
        "transfers": [
            {
                "source-integration-name": integration,
                "target-integration-name": integration,
                "python-module": f"{package}.transfers",
            }
        ],
        "asset-uris": [{"schemes": ["tiw"], "handler": None}],
        "config": {
            "tiw": {
                "description": "The receiver of Tencent's callbacks (docs/airflow-events.md).",
                "options": {
                    "callback_conn_ids": {
                        "description": "The connections whose callbacks the API server receives, "
                        "separated by commas; each needs a callback_secret. Empty turns it off.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "tencentcloud_default",
                        "default": "",
                    }
                },
            }
        },
        "connection-types": [
            {
                "connection-type": "tencentcloud",
                "hook-class-name": f"{package}.hooks.TiwHook",
                "hook-name": "Tencent Cloud",
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {
                        "login": "SecretId",
                        "password": "SecretKey",
                        "host": "Endpoint",
                        "schema": "Endpoint scheme",
                    },
                    "placeholders": {
                        "host": "tiw.tencentcloudapi.com",
                        "schema": "https",
                    },
                },
                "conn-fields": {
                    "sdk_app_id": {
                        "label": "SdkAppId",
                        "description": "The application, as the TIW console shows it.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "site": {
                        "label": "Site",
                        "description": "Sets endpoint and region.",
                        "schema": {
                            "type": _OPTIONAL,
                            "enum": ["cn", "intl", None],
                            # Otherwise the form shows the word null.
                            "values_display": {
                                "cn": "cn: mainland China",
                                "intl": "intl: international",
                                "null": "from endpoint and region",
                            },
                        },
                    },
                    "region": {"label": "Region", "schema": {"type": _OPTIONAL}},
                    "token": {
                        "label": "Token",
                        "description": "Where the keys are temporary.",
                        "schema": {"type": _OPTIONAL, "format": "password"},
                    },
                    "profile": {"label": "Profile", "schema": {"type": _OPTIONAL}},
                    "role_arn": {"label": "Role ARN", "schema": {"type": _OPTIONAL}},
                    "callback_secret": {
                        "label": "Callback key",
                        "schema": {"type": _OPTIONAL, "format": "password"},
                    },
                    "user_sig_secret": {
                        "label": "User signature key",
                        "description": "To sign recording users with; the IM console shows it.",
                        "schema": {"type": _OPTIONAL, "format": "password"},
                    },
                    "requests_per_second": {
                        "label": "Requests per second",
                        "description": "19 by default; Tencent allows 20 for the account.",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "quota_url": {
                        "label": "Redis of the shared pace",
                        "description": "Where several hosts share the pace, for example "
                        "rediss://user:password@redis.example.com:6379/0.",
                        "schema": {"type": _OPTIONAL, "format": "password"},
                    },
                    "timeout": {
                        "label": "Timeout (s)",
                        "description": "One call's hard deadline, 10 s by default.",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "ca_file": {"label": "CA bundle", "schema": {"type": _OPTIONAL}},
                    "proxy": {
                        "label": "Proxy",
                        "schema": {"type": _OPTIONAL, "format": "password"},
                    },
                    "allow_http": {
                        "label": "Allow plain http",
                        "description": "To another machine, where the network is your own.",
                        "schema": {"type": ["boolean", "null"]},
                    },
                },
            }
        ],
    }
