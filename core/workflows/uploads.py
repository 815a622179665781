"""Copies of what users uploaded, made for one job: they stay for as long as it may read them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.workflows.context import UserError


def forget(paths: Sequence[str]) -> None:
    """Delete copies; those that are gone are no matter."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


@contextmanager
def forgotten_if_refused(paths: Sequence[str]) -> Iterator[None]:
    """Copies that were refused are deleted; a job that was cut, or that the database failed, reads them again."""
    try:
        yield
    except UserError:
        forget(paths)
        raise
