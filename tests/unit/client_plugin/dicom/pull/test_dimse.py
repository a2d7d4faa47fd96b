from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import AllStoragePresentationContexts

from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.pull.command import peer_to_call
from client_plugin.dicom.pull.dicomweb import encoded_data_set
from client_plugin.dicom.pull.dimse import problem_of, storage_contexts
from client_plugin.dicom.pull.source import PullReason

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 64, 127, 170])
def test_proposed_contexts_fit_into_an_association(count: int) -> None:
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts][:count]
    contexts = storage_contexts(classes)
    assert len(contexts) <= 127  # and one for C-GET
    assert {str(c.abstract_syntax) for c in contexts} == set(classes[:127])


def test_what_is_compressed_may_come_compressed() -> None:
    syntaxes = [str(s) for context in storage_contexts([CT]) for s in context.transfer_syntax]
    assert syntaxes[:2] == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
    assert {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"} <= set(syntaxes)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (0x0000, None),
        (0xB000, None),
        (0xA702, PullReason.OUT_OF_RESOURCES),
        (0xA801, PullReason.DESTINATION_UNKNOWN),
        (0x0122, PullReason.NOT_SUPPORTED),
        (0xFE00, PullReason.FAILED),
        (0xC001, PullReason.FAILED),
    ],
)
def test_final_statuses(status: int, problem: PullReason | None) -> None:
    assert problem_of(status) is problem


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm"]
)
def test_a_data_set_is_encoded_as_it_was(name: str) -> None:
    path = get_testdata_file(name)
    encoded = encoded_data_set(dcmread(path))
    assert Path(path).read_bytes().endswith(encoded)
    assert encoded[:2] == b"\x08\x00"  # it starts after the file meta information


def peers(*described: tuple[str, int | None], source: str | None = None) -> NodeConfig:
    entries = [
        {"ae_title": name, "addresses": ["10.0.0.1"], **({"host": "10.0.0.1", "port": port} if port else {})}
        for name, port in described
    ]
    return NodeConfig.model_validate({"site": "a", "dicom": {"peers": entries}, "pull": {"source": source}})


def test_the_only_peer_that_can_be_called_is_the_source() -> None:
    assert peer_to_call(peers(("CT1", None), ("PACS", 104))).ae_title == "PACS"
    assert peer_to_call(peers(("PACS", 104), ("VNA", 104), source="VNA")).ae_title == "VNA"


@pytest.mark.parametrize(
    "config", [peers(), peers(("CT1", None)), peers(("PACS", 104), ("VNA", 104)), peers(("PACS", 104), source="VNA")]
)
def test_a_source_that_is_not_clear_is_an_error(config: NodeConfig) -> None:
    with pytest.raises(ConfigError, match=r"pull\.source"):
        peer_to_call(config)
