import subprocess
import sys

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.job_def import RunStatus

from server_config.exporter import job_end
from server_config.metrics import JobEnd


def test_the_component_can_be_imported_before_figures_are_shared() -> None:
    """NVFlare imports components first and fires SYSTEM_BOOTSTRAP, where figures are shared, later."""
    code = "import sys, server_config.exporter; print('prometheus_client' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


@pytest.mark.parametrize(
    ("event", "status", "end"),
    [
        (EventType.JOB_COMPLETED, RunStatus.FINISHED_COMPLETED, JobEnd.COMPLETED),
        (EventType.JOB_ABORTED, RunStatus.FINISHED_ABORTED, None),
        (EventType.JOB_COMPLETED, RunStatus.FINISHED_ABORTED, JobEnd.ABORTED),
        (EventType.JOB_COMPLETED, RunStatus.FINISHED_EXECUTION_EXCEPTION, JobEnd.FAILED),
        (EventType.JOB_COMPLETED, RunStatus.FINISHED_ABNORMAL, JobEnd.FAILED),
        (EventType.JOB_ABORTED, RunStatus.FAILED_TO_RUN, JobEnd.FAILED),
    ],
)
def test_a_job_ends_once_and_a_failed_one_is_not_completed(event: str, status: RunStatus, end: JobEnd | None) -> None:
    assert job_end(event, status.value) == end
