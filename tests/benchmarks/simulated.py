"""Workers that answer without computing: `simulated.py ADDRESS COUNT` runs so many of them in one process."""

from __future__ import annotations

import asyncio
import sys
import time

import dask
from distributed import Worker

from masksift.core.task_result import TaskResult
from masksift.engine.work_items import BlockTask, RunContext


def answer(job: RunContext, seconds: float, part: BlockTask) -> TaskResult:
    """As long as a task takes, give or take a tenth, and the result that it would answer."""
    begun = time.perf_counter()
    time.sleep(seconds * (0.9 + 0.2 * (part.block.number * 7919 % 1000) / 1000))
    images = part.block.images
    return TaskResult(
        part.block.number,
        images,
        images * part.spec.pixels,
        {"scored": images},
        bytes_read=1 << 29,
        bytes_written=1 << 24,
        requests=999,
        seconds=time.perf_counter() - begun,
    )


async def work(address: str, count: int) -> None:
    """Until the scheduler is gone. What each worker watches itself with, many times a second, would be 200 times the
    load that one machine has of it."""
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "10s"})
    workers = await asyncio.gather(
        *(Worker(address, nthreads=1, memory_limit=0, dashboard=False, heartbeat_interval="5s") for _ in range(count))
    )
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
