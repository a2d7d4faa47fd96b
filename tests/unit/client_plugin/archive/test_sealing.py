import io
import struct
from array import array

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from client_plugin.archive.sealing import MAX_CHUNK_SIZE, SealBroken, SealedReader, SealedWriter, seal, unseal

KEY = bytes(range(32))
CONTEXT = b"spool 42"
HEADER = 40
CHUNK = 64
STRIDE = CHUNK + 16


def sealed_in_chunks(data: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    raw = io.BytesIO()
    writer = SealedWriter(raw, key, context, chunk_size=CHUNK)
    writer.write(data)
    writer.finish()
    return raw.getvalue()


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_comes_back_as_it_was_however_it_was_cut_when_written(parts: list[bytes]) -> None:
    raw = io.BytesIO()
    writer = SealedWriter(raw, KEY, CONTEXT, chunk_size=CHUNK)
    assert [writer.write(memoryview(part)) for part in parts] == [len(part) for part in parts]
    writer.finish()
    assert unseal(raw.getvalue(), KEY, CONTEXT) == b"".join(parts)


@given(st.binary(max_size=400), st.data())
def test_any_flipped_bit_is_found(data: bytes, draw: st.DataObject) -> None:
    sealed = bytearray(sealed_in_chunks(data))
    sealed[draw.draw(st.integers(0, len(sealed) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        unseal(sealed, KEY, CONTEXT)


@given(st.binary(max_size=400), st.data())
def test_any_truncation_is_found(data: bytes, draw: st.DataObject) -> None:
    sealed = sealed_in_chunks(data)
    with pytest.raises(SealBroken):
        unseal(sealed[: draw.draw(st.integers(0, len(sealed) - 1))], KEY, CONTEXT)


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=200))
def test_anything_appended_is_found(data: bytes, more: bytes) -> None:
    with pytest.raises(SealBroken):
        unseal(sealed_in_chunks(data) + more, KEY, CONTEXT)


@given(st.binary(min_size=3 * CHUNK, max_size=6 * CHUNK), st.data())
def test_chunks_cannot_be_reordered_repeated_or_dropped(data: bytes, draw: st.DataObject) -> None:
    sealed = sealed_in_chunks(data)
    header, body = sealed[:HEADER], sealed[HEADER:]
    chunks = [body[at : at + STRIDE] for at in range(0, len(body), STRIDE)]
    order = draw.draw(
        st.lists(st.sampled_from(range(len(chunks))), max_size=8).filter(lambda o: o != [*range(len(chunks))])
    )
    with pytest.raises(SealBroken):
        unseal(header + b"".join(chunks[i] for i in order), KEY, CONTEXT)


def test_chunks_of_two_files_under_one_key_cannot_be_exchanged() -> None:
    one, two = sealed_in_chunks(bytes(3 * CHUNK)), sealed_in_chunks(bytes(3 * CHUNK))
    for at in range(HEADER, len(one), STRIDE):
        with pytest.raises(SealBroken):
            unseal(one[:at] + two[at : at + STRIDE] + one[at + STRIDE :], KEY, CONTEXT)


def test_a_writer_that_died_leaves_nothing_that_looks_whole() -> None:
    raw = io.BytesIO()
    writer = SealedWriter(raw, KEY, CONTEXT, chunk_size=CHUNK)
    writer.write(bytes(3 * CHUNK))
    with pytest.raises(SealBroken):
        unseal(raw.getvalue(), KEY, CONTEXT)


def test_another_key_or_context_does_not_open() -> None:
    sealed = seal(b"", KEY, CONTEXT)
    for key, context in ((bytes(32), CONTEXT), (KEY, b"spool 43"), (KEY, b"")):
        with pytest.raises(SealBroken):
            unseal(sealed, key, context)


def test_the_same_plaintext_never_looks_the_same() -> None:
    assert seal(b"same", KEY, CONTEXT)[HEADER:] != seal(b"same", KEY, CONTEXT)[HEADER:]


def test_a_hostile_header_does_not_allocate() -> None:
    for size in (0, MAX_CHUNK_SIZE + 1, 0xFFFFFFFF):
        with pytest.raises(SealBroken):
            unseal(struct.pack(">4sI32s", b"FPS\x01", size, bytes(32)) + bytes(100), KEY, CONTEXT)


@settings(max_examples=50)
@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 450), st.integers(-1, 300)), max_size=6))
def test_reads_like_a_file_at_any_offset(data: bytes, reads: list[tuple[int, int]]) -> None:
    reader, plain = SealedReader(io.BytesIO(sealed_in_chunks(data)), KEY, CONTEXT), io.BytesIO(data)
    assert reader.seek(0, io.SEEK_END) == len(data) == reader.size
    for offset, size in reads:
        reader.seek(offset)
        plain.seek(offset)
        assert reader.read(size) == plain.read(size)
        assert reader.tell() == plain.tell()


def test_the_end_is_checked_even_if_only_the_size_is_asked() -> None:
    sealed = sealed_in_chunks(bytes(3 * CHUNK))
    reader = SealedReader(io.BytesIO(sealed[: HEADER + 2 * STRIDE]), KEY, CONTEXT)
    with pytest.raises(SealBroken):
        reader.seek(0, io.SEEK_END)


def test_a_buffer_of_wider_elements_is_sealed_whole() -> None:
    numbers = array("I", range(1000))
    assert unseal(seal(memoryview(numbers), KEY, CONTEXT), KEY, CONTEXT) == numbers.tobytes()


def test_a_finished_file_takes_no_more() -> None:
    writer = SealedWriter(io.BytesIO(), KEY, CONTEXT)
    writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.write(b"x")
    with pytest.raises(ValueError, match="finished"):
        writer.finish()


def test_pydicom_reads_through_it() -> None:
    with open(get_testdata_file("CT_small.dcm"), "rb") as file:  # noqa: PTH123
        data = file.read()
    sealed = pydicom.dcmread(SealedReader(io.BytesIO(sealed_in_chunks(data)), KEY, CONTEXT))
    assert sealed == pydicom.dcmread(io.BytesIO(data))
