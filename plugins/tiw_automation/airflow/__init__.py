# SPDX-License-Identifier: Apache-2.0
"""The Airflow provider, for Airflow 3.1 and later.

Provider discovery imports this package in every Airflow process, so it imports nothing. On an
older Airflow each of its modules raises an error with one sentence on what it needs.
"""
