"""What a workflow is given by whoever runs it: a job's worker, the command line or a test."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class UserError(ValueError):
    """Something the user can mend. The message is one or two plain sentences and is shown as it is."""


class Cancelled(Exception):
    """Raised by a workflow that stopped because `Context.cancelled()` said so; what is done is kept."""


class Context(Protocol):
    """The outside world of one run."""

    job_id: int
    folder: Path
    device: str

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        """Report the share done in [0, 1] (None: unknown), what is being done, seconds to go. Call often."""

    def metrics(self, step: int, **values: float) -> None:
        """Record numbers to draw against the step. The same step written again is replaced."""

    def cancelled(self) -> bool:
        """True once the user asked to stop or the process got SIGTERM. Cheap: ask between steps."""
