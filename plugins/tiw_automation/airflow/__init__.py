# SPDX-License-Identifier: Apache-2.0
"""The Airflow provider, for Airflow 3.1 and later.

Provider discovery imports this package in every Airflow process, so it imports nothing. On an
older Airflow the modules below it say in one sentence what they need.
"""
