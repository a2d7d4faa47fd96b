"""The JSON policies of a kit's ``local`` folder, as plain data.

They belong to the participant: its own IT may edit them after provisioning, and NVFlare reads them at start.
"""

from __future__ import annotations

from typing import Any

from provisioning.allow_list import HOSPITAL_CLASSES, SERVER_CLASSES

Json = dict[str, Any]

# NVFlare's rights (nvflare.security, authorization.json). "byoc" (bring your own code) is nobody's, and so is
# the shell: a console user sees states and statistics, not files.
_ALL_RIGHTS = ("submit_job", "clone_job", "manage_job", "download_job", "view", "operate")
_NO_RIGHTS = {"byoc": "none", "shell_commands": "none", "server-predeployed-flwr": "none"}


def authorization() -> Json:
    """``authorization.json``: who may do what at this participant; nobody may bring code (decision 1)."""
    return {
        "format_version": "1.0",
        "permissions": {
            "project_admin": {**dict.fromkeys(_ALL_RIGHTS, "any"), **_NO_RIGHTS},
            "org_admin": {
                "submit_job": "none",
                "clone_job": "none",
                "manage_job": "o:submitter",
                "download_job": "o:submitter",
                "view": "any",
                "operate": "o:site",
                **_NO_RIGHTS,
            },
            "lead": {
                "submit_job": "any",
                "clone_job": "n:submitter",
                "manage_job": "n:submitter",
                "download_job": "n:submitter",
                "view": "any",
                "operate": "none",
                **_NO_RIGHTS,
            },
            "member": {"view": "any", **_NO_RIGHTS},
        },
    }


def privacy() -> Json:
    """``privacy.json`` of a hospital: the filters that every job passes, whatever the job says (decision 2).

    NVFlare runs site filters before the job's own, so a job's filter only ever sees what is sealed already.
    """
    return {
        "scopes": [
            {
                "name": "hospital",
                "properties": {},
                "task_data_filters": [
                    {"path": "client_plugin.privacy.filters.OpenAggregate", "direction": "in", "args": {}}
                ],
                "task_result_filters": [
                    {"path": "client_plugin.privacy.filters.SealUpdate", "direction": "out", "args": {}}
                ],
            }
        ],
        "default_scope": "hospital",
    }


NVFLARE_TIMES: tuple[Json, ...] = (
    {
        "id": "nvflare_times",
        "path": "nvflare.metrics.system_metrics_collector.SysMetricsCollector",
        "args": {"tags": {}},
    },
    {"id": "nvflare_events", "path": "observability.nvflare_events.NVFlareEvents", "args": {}},
)
"""NVFlare times its own events (heartbeats, registration), and we show them to Prometheus."""


def hospital_resources(*, embedded: bool) -> Json:
    """``resources.json`` of a hospital.

    Parameters
    ----------
    embedded
        True: the node starts inside the NVFlare client's process. False: it runs as a service of its own
        (``fedpacs node``), and the client only trains.
    """
    components: list[Json] = [
        {
            "id": "resource_manager",
            "path": "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager",
            "args": {"num_of_gpus": 0, "mem_per_gpu_in_GiB": 0, "expiration_period": 300},
        },
        {
            "id": "resource_consumer",
            "path": "nvflare.app_common.resource_consumers.gpu_resource_consumer.GPUResourceConsumer",
            "args": {},
        },
        {
            "id": "process_launcher",
            "path": "nvflare.app_common.job_launcher.client_process_launcher.ClientProcessJobLauncher",
            "args": {},
        },
        {"id": "edge_node", "path": "client_plugin.flare.EdgeNodeComponent", "args": {"embedded": embedded}},
        {"id": "job_keeper", "path": "client_plugin.privacy.keeper.JobKeeper", "args": {}},
        *NVFLARE_TIMES,
    ]
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(HOSPITAL_CLASSES),
        # Job logs stay at the hospital: NVFlare would stream them to the server.
        "allow_log_streaming": False,
        "client": {"retry_timeout": 30, "compression": "Gzip"},
        "components": components,
    }


def server_resources(*, storage: str, metrics: Json | None = None) -> Json:
    """``resources.json`` of the consortium's server.

    Parameters
    ----------
    storage
        Absolute folder for the job store and snapshots. NVFlare's default is the system's temporary folder.
    metrics
        ``host`` and ``port`` of the server's Prometheus endpoint; None: no endpoint.
    """
    exporter: list[Json] = []
    if metrics:
        exporter = [{"id": "metrics", "path": "server_config.exporter.ServerMetrics", "args": metrics}, *NVFLARE_TIMES]
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(SERVER_CLASSES),
        "servers": [
            {"admin_storage": "transfer", "max_num_clients": 100, "heart_beat_timeout": 600, "admin_timeout": 10.0}
        ],
        "snapshot_persistor": {
            "path": "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor",
            "args": {
                "uri_root": "/",
                "storage": {
                    "path": "nvflare.app_common.storages.filesystem_storage.FilesystemStorage",
                    "args": {"root_dir": f"{storage}/snapshots", "uri_root": "/"},
                },
            },
        },
        "components": [
            {
                "id": "job_scheduler",
                "path": "nvflare.app_common.job_schedulers.job_scheduler.DefaultJobScheduler",
                "args": {"max_jobs": 4},
            },
            {
                "id": "job_manager",
                "path": "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                "args": {"uri_root": f"{storage}/jobs", "job_store_id": "job_store"},
            },
            {"id": "job_store", "path": "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"},
            {
                "id": "process_launcher",
                "path": "nvflare.app_common.job_launcher.server_process_launcher.ServerProcessJobLauncher",
                "args": {},
            },
            *exporter,
        ],
    }
