"""How blocks are run. Nothing here knows of labels, predictions or files."""

from __future__ import annotations

from masksift.executors.base import Executor, Worker
from masksift.executors.serial import SerialExecutor

__all__ = ["Executor", "Worker", "make_executor", "memory_limit"]


def make_executor(
    kind: str, *, workers: int, memory: int | None, address: str | None = None, timeout: float = 60.0
) -> Executor:
    """The executor of a kind: `serial`, `local` (workers processes with `memory` bytes each) or `dask` (an address)."""
    if kind == "serial":
        return SerialExecutor(memory)
    # Only a run on a cluster pays for the import of dask.
    from masksift.executors.distributed import DistributedExecutor

    if kind == "dask":
        return DistributedExecutor(address=address, timeout=timeout)
    return DistributedExecutor(workers=workers, memory=memory, timeout=timeout)


def memory_limit(kind: str, *, workers: int, memory: int | None) -> int | None:
    """Bytes a worker will have, as far as that is known before it starts; None where it is not, or is unlimited."""
    if memory is not None or kind != "local":
        return memory
    from masksift.executors.distributed import local_memory

    return local_memory(workers)
