"""Uploads: kept for the job that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.workflows.acting import EDITOR, require
from core.workflows.quotas import check_disk, upload_prefix
from core.workflows.store import folder


def save_uploads(files: Sequence[UploadedFile]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(paths, names): uploads copied under var/uploads by names of our own; the user's names are for showing only.

    Raises NotAllowed, and UserError over the disk quota.
    """
    who = require(EDITOR)
    check_disk(sum(file.size for file in files))
    paths = []
    for file in files:
        path = folder("uploads") / f"{upload_prefix(who.id)}{uuid4().hex}"
        with path.open("wb") as target:
            target.write(file.getbuffer())
        paths.append(str(path))
    return tuple(paths), tuple(Path(f.name).name[:200] for f in files)
