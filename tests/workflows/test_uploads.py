"""What users upload is there until the job that reads it cannot want it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from core.workflows import imports, vasp_results
from core.workflows.context import Cancelled, UserError
from core.workflows.imports import ImportParams, import_files
from core.workflows.store import folder, store
from core.workflows.vasp_results import ReadParams, read_vasp
from db.tables import Dataset, Relaxation, Structure
from tests.conftest import TestContext
from tests.data.test_readers import TIB2, cif_of
from tests.vasp_runs import vasprun
from tests.workflows.test_vasp import candidates_of_structures, run_for

Work = Callable[[TestContext], dict[str, Any]]


@pytest.fixture
def upload(var: Path) -> Path:
    return folder("uploads") / "x"


@pytest.fixture(params=["vasp", "import"])
def work(request: pytest.FixtureRequest, upload: Path) -> Work:
    """A job of this upload."""
    if request.param == "vasp":
        (candidate,) = candidates_of_structures([TIB2])
        upload.write_text(vasprun(run_for(candidate, TIB2, -24.0)))
        return lambda context: read_vasp(ReadParams((str(upload),), ("vasprun.xml",)), context)
    upload.write_text(cif_of(TIB2))
    return lambda context: import_files(ImportParams((str(upload),), "d", uploads=("a.cif",)), context)


def test_it_is_read_again_after_a_database_that_failed(
    work: Work, upload: Path, context: TestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        for module in (vasp_results, imports):
            patched.setattr(module, "keep_made", fail)
        with pytest.raises(OperationalError):
            work(context)
    assert upload.is_file()
    result = work(context)
    assert result.get("stored", 0) + result.get("structures", 0) == 1
    assert not upload.exists()


def test_it_stays_where_the_job_was_stopped(work: Work, upload: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        work(TestContext(tmp_path / "job", stop_after=0))
    assert upload.is_file()
    with store().session() as session:
        kept = [session.scalars(select(table)).all() for table in (Relaxation, Structure, Dataset)]
    assert kept == [[], [], []], "nothing half-written"


def test_it_goes_where_it_was_refused(upload: Path, context: TestContext) -> None:
    upload.write_text("no crystal")
    with pytest.raises(UserError):
        import_files(ImportParams((str(upload),), "d", uploads=("a.cif",)), context)
    assert not upload.exists()
