"""Files that are made when they are asked for, in Streamlit's own manager."""

from __future__ import annotations

import time

import pytest
from streamlit.runtime import media_file_manager
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

from core.ui.downloads import KEPT_S, keep_made_files


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> MediaFileManager:
    monkeypatch.setattr(media_file_manager, "MediaFileMetadata", media_file_manager.MediaFileMetadata)  # put back
    keep_made_files()
    return MediaFileManager(MemoryMediaFileStorage("/media"))


def test_a_made_file_outlives_the_scripts_of_others_for_a_minute(
    manager: MediaFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = manager.add_deferred(lambda: b"cell", None, "place", "x.cif")
    name = manager.execute_deferred(made).removeprefix("/media/")
    for _ in range(5):
        manager.remove_orphaned_files()
    assert manager.read_file(name) is not None
    later = time.monotonic() + KEPT_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    manager.remove_orphaned_files()
    assert manager.read_file(name) is None


def test_what_a_page_no_longer_shows_goes_at_once(manager: MediaFileManager) -> None:
    name = manager.add(b"picture", "image/png", "place").removeprefix("/media/")
    manager.clear_session_refs()
    manager.remove_orphaned_files()
    assert manager.read_file(name) is None
