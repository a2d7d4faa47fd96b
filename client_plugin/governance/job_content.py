"""What a job is, by content: a digest over the files that NVFlare deploys at a hospital.

A name says nothing about what is behind it. A data steward who has read a job's folder lists its digest
(``governance.job_digests``), and the same name with one value changed is another job.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

#: What NVFlare adds to a submitted job: signatures over these very files, and the submitter's certificate.
SIGNATURES = frozenset({".__nvfl_sig.json", ".__nvfl_submitter.crt"})


class NoJobError(RuntimeError):
    """The folder is no job; the message says what was looked for."""


def job_digest(app: Path) -> str:
    """SHA-256 over names and contents of all files of a job's app folder, in order of name.

    Every file counts, also one that nothing reads: NVFlare looks for its configuration under several names.

    Raises
    ------
    NoJobError
        There are no files.
    """
    files = sorted(path for path in app.rglob("*") if path.is_file() and path.name not in SIGNATURES)
    if not files:
        raise NoJobError(f"no files of a job in {app}")
    found = hashlib.sha256()
    for path in files:
        name = path.relative_to(app).as_posix().encode()
        found.update(len(name).to_bytes(4, "big") + name + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
