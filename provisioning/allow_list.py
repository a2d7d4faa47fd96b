"""Which classes a job's configuration may name at a participant (NVFlare ``class_allow_list``).

NVFlare's default list is replaced, not extended: a kit runs what fedpacs reviewed and nothing else.
Deliberately absent: anything that ships files or code (log streamers, trackers, ``ScriptRunner``).
"""

from __future__ import annotations

HOSPITAL_CLASSES = (
    "client_plugin.learning.executor.FederatedTraining",
    "client_plugin.privacy.ceremony.CeremonyExecutor",
    "client_plugin.privacy.session.AggregationSession",
    "observability.nvflare_events.JobTimes",
)

SERVER_CLASSES = (
    "observability.nvflare_events.JobTimes",
    "server_config.workflow.EncryptedFedAvg",
)
