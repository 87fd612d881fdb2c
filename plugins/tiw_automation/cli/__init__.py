# SPDX-License-Identifier: Apache-2.0
"""The command ``tiw``, for people with neither Airflow nor Ansible, and for those who look."""
