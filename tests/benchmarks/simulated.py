"""Simulated workers: `python -m benchmarks.simulated ADDRESS COUNT` runs workers that sleep instead of computing."""

from __future__ import annotations

import asyncio
import sys
import time

import dask
from distributed import Worker

from masksift.core.task_result import TaskResult
from masksift.engine.work_items import BlockTask, RunContext


def answer(context: RunContext, seconds: float, task: BlockTask) -> TaskResult:
    """Sleep as long as a task takes, within ten percent, and return a task result."""
    started = time.perf_counter()
    time.sleep(seconds * (0.9 + 0.2 * (task.block.number * 7919 % 1000) / 1000))
    images = task.block.images
    return TaskResult(
        task.block.number,
        images,
        images * task.spec.pixels,
        {"scored": images},
        bytes_read=1 << 29,
        bytes_written=1 << 24,
        requests=999,
        seconds=time.perf_counter() - started,
    )


async def work(address: str, count: int) -> None:
    """Run workers until the scheduler stops, without health checks and profilers, the main load of idle workers."""
    dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.interval": "10s",
            "distributed.admin.tick": {"interval": "10s", "cycle": "10s", "limit": "1m"},
        }
    )
    workers = await asyncio.gather(
        *(Worker(address, nthreads=1, memory_limit=0, dashboard=False, heartbeat_interval="5s") for _ in range(count))
    )
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
