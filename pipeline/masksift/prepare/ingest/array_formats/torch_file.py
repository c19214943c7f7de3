"""Find the tensors in `.pt` and `.pth` files of `torch.save`, without torch.

Format: a zip archive with the pickle `NAME/data.pkl` and the values of each storage as the uncompressed member
`NAME/data/KEY` (torch 1.6 and newer), or the older sequence of pickles and values.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO

from masksift.prepare.ingest.array_formats.npy import member_offset
from masksift.prepare.ingest.array_formats.pickled import Interpreter, read_legacy


def read_torch(file: BinaryIO, url: str) -> Any:
    """Find the tensors of a file. Raises ValueError or BadZipFile if it is invalid."""
    if file.read(2) != b"PK":
        file.seek(0)
        content, _ = read_legacy(file, url)
        return content
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        name = next((name for name in members if name.rpartition("/")[2] == "data.pkl"), None)
        if name is None or any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("it is not an archive of torch.save")
        root = name.removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder").strip() != b"little":
            raise ValueError("it was written on a big-endian machine")
        pickled, shift = archive.read(name), member_offset(file, members[name])

        def locate(key: str) -> int:
            return member_offset(file, members[f"{root}data/{key}"])

        return Interpreter(io.BytesIO(pickled), url, locate, shift=shift).run()
