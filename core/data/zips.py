"""What `zipfile` raises for archives from outside: more than it says of itself."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

DAMAGED = (  # also: a directory that points before the file's beginning, names and dates that are none
    *(zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OverflowError, EOFError, struct.error),
    *(zlib.error, lzma.LZMAError),
)
UNREADABLE = (*DAMAGED, RuntimeError)  # encrypted, or packed in an unknown way (NotImplementedError)
