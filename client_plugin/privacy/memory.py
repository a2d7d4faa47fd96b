"""What a session remembers over the end of its process, and when it forgets it."""

from __future__ import annotations

import logging
from pathlib import Path

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.apis.workspace import Workspace

from client_plugin.config import NodeConfig
from client_plugin.privacy.kept import Kept
from secure_aggregation.errors import ProtocolError
from secure_aggregation.site import Site

log = logging.getLogger(__name__)


class Memory:
    """The kept files of one job's session.

    NVFlare's client tells the server that a job failed when a job's process was killed, and the server then stops the
    job everywhere. So while the session runs, the process's return code is on file as *unknown*: the server counts the
    site as gone, and the quorum decides.

    Parameters
    ----------
    kept
        This job's files.
    source
        The job that this one resumes.
    return_code
        Where NVFlare looks for the return code of the job's process.
    """

    def __init__(self, kept: Kept, source: str | None, return_code: Path) -> None:
        self._kept = kept
        self._source = kept.of(source) if source else None
        self._return_code = return_code
        self._kept_step = -1
        self._restored = False
        self.finished = False
        return_code.parent.mkdir(parents=True, exist_ok=True)
        return_code.write_text(str(int(JobReturnCode.UNKNOWN)), encoding="ascii")

    @classmethod
    def open(cls, node: NodeConfig, workspace: Workspace, job: str, source: str | None) -> Memory:
        """The memory of ``job`` at this node."""
        return cls(Kept.open(node, job), source, Path(workspace.get_run_dir(job)) / FLMetaKey.PROCESS_RC_FILE)

    def restore(self, site: Site) -> None:
        """Give the site what an earlier process of this job kept, or one of the job that this one resumes. What cannot
        be used is named in the log, and the site gets in through the key ceremony. Once in the life of a process.
        """
        if self._restored:
            return
        self._restored = True
        model = self._kept.read("model")
        if model is None and self._source is not None:
            model = self._source.read("model")
        keys = self._kept.read("keys")
        try:
            if model is not None:
                site.take_model(model)
                log.info("the kept model is used; the last sum in it is that of round %d", site.standing + 1)
            if keys is not None:
                site.take_keys(keys)
        except ProtocolError as error:
            log.error("what was kept is not used: %s", error)  # noqa: TRY400 - no traceback

    def keep_model(self, site: Site) -> None:
        """Keep the model when a sum was added to it. A full disk does not stop the round: the file before stays."""
        model = site.keep_model() if site.standing > self._kept_step else None
        if model is None:
            return
        try:
            self._kept.write_model(model)
        except OSError as error:
            log.error("the model of round %d is not kept: %s; make room", site.standing + 1, error.strerror)  # noqa: TRY400
            return
        self._kept_step = site.standing
        if self._source is not None:
            self._source.destroy("model")  # this job has it now

    def keep_own(self, data: bytes) -> None:
        """Keep what the executor alone has; a full disk does not stop the round."""
        try:
            self._kept.write_own(data)
        except OSError as error:
            log.error("what only this site has is not kept: %s; make room", error.strerror)  # noqa: TRY400

    def own(self, site: Site) -> bytes | None:
        """What the executor of an earlier process of this job kept; with the model of the job that this one resumes,
        also what was kept there.
        """
        own = self._kept.read("own")
        if own is None and self._source is not None and site.standing >= 0:
            return self._source.read("own")
        return own

    def keep_keys(self, site: Site) -> None:
        """Keep the keys and the record of their use. Keys whose record cannot be written are destroyed on disk: without
        them a new process gets in through the ceremony, with an old record it could reveal twice.
        """
        try:
            self._kept.write_keys(site.keep_keys())
        except OSError as error:
            log.error("the keys are not kept: %s; make room", error.strerror)  # noqa: TRY400 - no traceback
            self._kept.destroy("keys")

    def end(self) -> None:
        """The job's process ends in good order: no keys stay; the model stays if the job has not finished, so that it
        can be resumed.
        """
        self._kept.destroy("keys")
        if self.finished:
            for kind in ("model", "own"):
                self._kept.destroy(kind)
                if self._source is not None:
                    self._source.destroy(kind)
        self._return_code.unlink(missing_ok=True)
