"""The documents promise only what the repository has: commands, options, make targets, files, anchors."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from client_plugin.archive.cohorts import CohortQuery
from client_plugin.cli import COMMANDS
from client_plugin.config import NodeConfig
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.learning.config import LearningConfig
from jobs.folder import JobFolder

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: Path, *languages: str) -> list[str]:
    return [body for language, body in _FENCE.findall(document.read_text()) if language in languages]


def command_lines(document: Path) -> list[str]:
    """Lines of shell blocks, and code spans, that begin with a command of ours."""
    text = document.read_text()
    shell = "\n".join(blocks(document, "", "sh", "bash", "console")).replace("\\\n", " ")
    spans = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    lines = [line.strip().removeprefix("$ ") for line in [*shell.splitlines(), *spans]]
    return [line.split("  #")[0].strip() for line in lines]


def calls(program: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"(?:\S*/)?{program} ")
    return [(path.name, line) for path in DOCUMENTS for line in command_lines(path) if pattern.match(line)]


def test_there_are_commands_to_check() -> None:
    assert len(calls("fedpacs")) >= 6
    assert len(calls("make")) >= 4


@pytest.mark.parametrize(("document", "line"), calls("fedpacs"))
def test_a_fedpacs_command_parses(document: str, line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS, f"{document}: {line}"
    module = importlib.import_module(COMMANDS[name].module)
    parser = argparse.ArgumentParser(prog=name, exit_on_error=False)
    module.add_arguments(parser)
    if arguments:
        parser.parse_args(arguments)


@pytest.mark.parametrize(("document", "line"), calls("make"))
def test_a_make_target_and_its_variables_exist(document: str, line: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    patterns = re.findall(r"^([a-z][\w-]*)%:", makefile, re.MULTILINE)
    for word in shlex.split(line)[1:]:
        if "=" in word:
            assert re.search(rf"\$\({word.split('=')[0]}\)|\$\(if \$\({word.split('=')[0]}\)", makefile), line
        else:
            assert word in targets or any(word.startswith(pattern) for pattern in patterns), f"{document}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", document.read_text()):
        link = next(filter(None, target))
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{document.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document.name}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_node_configurations_in_the_documents_are_valid(document: Path) -> None:
    for block in blocks(document, "yaml"):
        NodeConfig.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_cohorts_to_pull_in_the_documents_are_valid(document: Path) -> None:
    for block in blocks(document, "yml"):
        PullQuery.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_jobs_in_the_documents_can_be_written(document: Path, tmp_path: Path) -> None:
    for block in blocks(document, "python"):
        names: dict[str, Any] = {}
        exec(compile(block, document.name, "exec"), names)  # noqa: S102 our own document
        job: JobFolder = names["job"]()
        assert (job.write(tmp_path) / "meta.json").is_file()
        CohortQuery.model_validate(job.cohort)
        LearningConfig.from_job(job.learning)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_named_in_the_text_exist(document: Path) -> None:
    """``governance.min_sites`` and the like, in code spans."""
    sections = {
        name: field.annotation
        for name, field in NodeConfig.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    for section, key in re.findall(r"`(\w+)\.(\w+)(?:`|: )", document.read_text()):
        if section in sections:
            assert key in sections[section].model_fields, f"{document.name}: {section}.{key}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_pictures_are_described_to_who_does_not_see_them(document: Path) -> None:
    for text in re.findall(r"!\[([^\]]*)\]\(", document.read_text()):
        assert len(text.split()) >= 4, text


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "img").glob("*.svg")), ids=lambda path: path.name)
def test_pictures_load_nothing(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()  # noqa: S314 our own drawing
    assert not [e for e in root.iter() if e.tag.endswith(("}image", "}script"))]
    assert not re.search(r"@import|url\((?!#)", picture.read_text())
