"""Provision a project: one startup kit for each participant."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from nvflare.lighter.constants import CtxKey
from nvflare.lighter.provision import prepare_builders, prepare_project
from nvflare.lighter.provisioner import Provisioner


class ProvisionError(RuntimeError):
    """No kits were made; the message names the cause."""


def load_project(path: Path) -> dict[str, Any]:
    """Read a ``project.yml``.

    Raises
    ------
    ProvisionError
        The file is missing or is no YAML mapping.
    """
    try:
        project = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ProvisionError(f"cannot read {path}: {error}") from None
    if not isinstance(project, dict):
        raise ProvisionError(f"{path} is not a project description: expected a mapping with `participants`")
    return project


def provision(project: dict[str, Any], workspace: Path) -> dict[str, Path]:
    """Make the kits.

    Parameters
    ----------
    project
        The contents of a ``project.yml``.
    workspace
        Where the kits and the project's root key go. The root key (``<project>/state/cert.json``) can make
        participants: keep it at the consortium's lead, offline.

    Returns
    -------
    dict
        Name of each participant → folder of its kit.

    Raises
    ------
    ProvisionError
        NVFlare or one of our builders refused; nothing is left behind.
    """
    # Every private key of the project is below: nobody else's to read.
    workspace.mkdir(parents=True, exist_ok=True)
    workspace.chmod(0o700)
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            description = prepare_project(project)
            builders = prepare_builders(project)
            ctx = Provisioner(str(workspace), builders).provision(description)
    except Exception as error:  # NVFlare raises bare Exceptions for mistakes in the file
        raise ProvisionError(f"the project was refused: {error}") from error
    if ctx.get(CtxKey.BUILD_ERROR):
        reasons = [line for line in said.getvalue().splitlines() if "Error: " in line]
        raise ProvisionError(f"provisioning stopped: {reasons[-1] if reasons else said.getvalue()}")
    prod = Path(ctx[CtxKey.CURRENT_PROD_DIR])
    return {p.name: prod / p.name for p in description.get_all_participants()}
