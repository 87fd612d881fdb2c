# SPDX-License-Identifier: Apache-2.0
"""Asset events of finished recordings: what publishes them, and what an event holds.

===================  =============================================================================
module               what it does
===================  =============================================================================
asset_events         the data of an event; reads events, and fills those of a task's outlets
announced            what an event trigger has published, waits for and did not find
state_store          where that is kept: Airflow's asset state, or a Variable before Airflow 3.3
shared_feed          the recordings of an application, read once for many triggers
callback_receiver    the API server's app that receives Tencent's callbacks
callback_request     reads one callback's HTTP request within limits of time and memory
callback_connection  the secret and the client of a connection that receives callbacks
event_sink           stores the receiver's events in Airflow's database
===================  =============================================================================

Every Airflow process may import this package, so it imports nothing.
"""
