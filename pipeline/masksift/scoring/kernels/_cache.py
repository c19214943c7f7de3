"""Cache of compiled kernels that the processes of a machine share: each kernel is compiled by one of them."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache

try:
    import fcntl
except ImportError:  # Windows: every process compiles for itself
    fcntl = None  # type: ignore[assignment]


@cache
def source_digest() -> str:
    """Return a digest of the kernels' sources: compiled code contains functions of several files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class KernelCache(FunctionCache):
    """numba's cache of one kernel, with a lock from a miss until the compiled code is stored.

    Other processes that miss the same kernel wait for the lock and load what was stored. Numba's own cache has no lock:
    each process compiles, and two that store different signatures at once lose one. A lock that is not released because
    a kernel does not compile ends with the process. Where files cannot be locked, every process compiles for itself.
    """

    _held: int | None = None

    @property
    def lock_path(self) -> Path:
        """File whose lock a process holds while it compiles the kernel."""
        return Path(self.cache_path) / f"{self._impl.filename_base}.{source_digest()}.lock"

    @property
    def was_used(self) -> bool:
        """True if a process of this machine has compiled the kernel of this version."""
        return self.lock_path.exists()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code of a signature, or None with the lock held if this process has to compile it."""
        compiled = super().load_overload(sig, target_context)
        if compiled is None:
            self._acquire()
            compiled = super().load_overload(sig, target_context)
            if compiled is not None:
                self._release()
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store compiled code, and release the lock."""
        try:
            super().save_overload(sig, data)
        finally:
            self._release()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), source_digest())

    def _acquire(self) -> None:
        self._release()
        try:
            self._held = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            if fcntl is not None:
                fcntl.flock(self._held, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            self._release()

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)  # which releases the lock
            self._held = None
