"""The memory of a running process, read as a debugger would."""

from __future__ import annotations

from pathlib import Path

_NOT_MEMORY = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]")


def dump(pid: int) -> bytes:
    """Every page that the process can write (heap, stacks, anonymous mappings), one after the other.

    Raises
    ------
    OSError
        The process is gone, or this user may not read it.
    """
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            extent, rights, *_, name = [*line.split(maxsplit=5), ""][:7]
            if not rights.startswith("rw") or name.strip() in _NOT_MEMORY:
                continue
            start, end = (int(value, 16) for value in extent.split("-"))
            try:
                memory.seek(start)
                parts.append(memory.read(end - start))
            except (OSError, ValueError):
                continue  # unmapped since the list was read
    return b"".join(parts)


def libraries(pid: int) -> set[str]:
    """Names of the shared objects that the process has loaded."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).name for line in lines if line.count("/")}
