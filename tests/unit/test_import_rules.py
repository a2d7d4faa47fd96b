"""The design's import rules, read from the syntax tree of every module.

A row forbids a package to import another, at module level or inside a function. The rows of all
packages around a module apply to it: ``client_plugin.dicom.listener`` obeys those of ``client_plugin.dicom``
and of ``client_plugin``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AROUND = ("demo", "benchmarks", "tests")  # around the product: it never imports them
NODE_SIDE = ("pydicom", "pynetdicom", "highdicom", "monai", "torch", "sqlalchemy", "skimage")  # extra "node"

FORBIDDEN: dict[str, tuple[str, ...]] = {
    # The protocol knows nothing of DICOM, MONAI or NVFlare, nor of us.
    "secure_aggregation": (
        "client_plugin",
        "server_config",
        "jobs",
        "provisioning",
        "observability",
        "nvflare",
        *NODE_SIDE,
        *AROUND,
    ),
    "observability": ("client_plugin", "server_config", "secure_aggregation", "jobs", "provisioning", *AROUND),
    # Neither side imports the other; the server installs without the node's extra.
    "server_config": ("client_plugin", "jobs", "provisioning", *NODE_SIDE, *AROUND),
    "client_plugin": ("server_config", "jobs", "provisioning", *AROUND),
    # dicom → intake → archive, learning → archive; dicom and learning never meet.
    "client_plugin.archive": ("client_plugin.intake", "client_plugin.dicom", "client_plugin.learning"),
    "client_plugin.intake": ("client_plugin.dicom", "client_plugin.learning"),
    "client_plugin.dicom": ("client_plugin.learning",),
    "client_plugin.learning": ("client_plugin.intake", "client_plugin.dicom"),
    "client_plugin.governance": ("client_plugin.dicom", "client_plugin.learning"),
    "jobs": AROUND,
    "provisioning": AROUND,
    "demo": ("tests", "benchmarks"),
}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything that is imported anywhere in the module.

    ``from package import name`` yields ``package.name``, since ``name`` may itself be a module.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def violations(root: Path) -> list[str]:
    """Every forbidden import below ``root``, as ``file:line imports target``."""
    found = []
    for path in sorted({path for rule in FORBIDDEN for path in (root / rule.replace(".", "/")).rglob("*.py")}):
        module = module_name(path, root)
        banned = {target for rule, targets in FORBIDDEN.items() if within(module, rule) for target in targets}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in imported(tree, module, is_package=path.name == "__init__.py"):
            if any(within(name, target) for target in banned):
                found.append(f"{path.relative_to(root)}:{line} imports {name}")
    return found


def test_imports_go_one_way() -> None:
    assert not violations(ROOT), "\n".join(["forbidden by the design:", *violations(ROOT)])


def test_the_rules_speak_of_packages_that_exist() -> None:
    missing = [rule for rule in FORBIDDEN if not (ROOT / rule.replace(".", "/") / "__init__.py").exists()]
    assert not missing


@pytest.mark.parametrize(
    ("file", "source", "target"),
    [
        ("client_plugin/dicom/listener.py", "import client_plugin.learning.tasks", "client_plugin.learning.tasks"),
        ("client_plugin/dicom/listener.py", "from ..learning import tasks", "client_plugin.learning.tasks"),
        ("client_plugin/learning/data.py", "from client_plugin import dicom", "client_plugin.dicom"),
        ("client_plugin/archive/__init__.py", "from ..intake.spool import Spool", "client_plugin.intake.spool.Spool"),
        ("client_plugin/node.py", "def f():\n    from server_config import workflow", "server_config.workflow"),
        ("server_config/workflow.py", "import torch", "torch"),
        ("secure_aggregation/wire.py", "import nvflare.apis.dxo as dxo", "nvflare.apis.dxo"),
        ("jobs/organs.py", "from demo.run import main", "demo.run.main"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str, target: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n")
    assert violations(tmp_path) == [f"{file}:{source.count(chr(10)) + 1} imports {target}"]


def test_what_the_rules_allow_passes(tmp_path: Path) -> None:
    path = tmp_path / "client_plugin" / "dicom" / "listener.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import secure_aggregation\nfrom ..intake import spool\nimport client_plugin.archive, torchvision\n"
    )
    assert violations(tmp_path) == []
