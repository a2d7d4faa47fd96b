import subprocess
import sys


def test_the_component_can_be_imported_before_figures_are_shared() -> None:
    """NVFlare imports components first and fires SYSTEM_BOOTSTRAP, where figures are shared, later."""
    code = "import sys, server_config.exporter; print('prometheus_client' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
