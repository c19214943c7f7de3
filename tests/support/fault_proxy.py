"""Run a proxy in front of an S3 server that makes a random share of the requests fail, by seed."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["FaultProxy", "Faults", "run_fault_proxy"]

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Faults:
    """Shares of requests that fail, by kind of fault.

    `slow_down` answers 503, `hang` never answers, `reset_before` and `reset_after` reset the connection before or after
    the server has handled the request. `delay` is added to every request, in seconds.
    """

    slow_down: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    hang: float = 0.0
    delay: float = 0.0
    seed: int = 0


@dataclass
class FaultProxy:
    """A running proxy with counts of requests by method and by outcome, and the most requests at a time."""

    upstream: int
    faults: Faults
    host: str = "127.0.0.1"
    port: int = 0
    methods: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    max_concurrent: int = 0
    _concurrent: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.faults.seed)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _draw_outcome(self) -> str:
        """Draw what happens to the next request."""
        drawn = self._random.random()
        for name in ("slow_down", "reset_before", "reset_after", "hang"):
            drawn -= getattr(self.faults, name)
            if drawn < 0:
                return name
        return "answered"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection with one request."""
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        async with _closed(writer):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._request(reader, writer)
        self._concurrent -= 1

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if fields.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(fields.get("content-length") or 0))
        self.methods[lines[0].split()[0]] += 1
        outcome = self._draw_outcome()
        self.outcomes[outcome] += 1
        await asyncio.sleep(self.faults.delay)
        if outcome == "slow_down":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n")
            body = b"" if lines[0].startswith("HEAD") else SLOW_DOWN
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        elif outcome == "hang":
            await reader.read()  # until the client gives up
        elif outcome == "reset_before":
            _reset(writer)
        else:
            answer = await self._forward(lines, body)
            if outcome == "reset_after":
                _reset(writer)
            else:
                writer.write(answer)
                await writer.drain()

    async def _forward(self, lines: list[str], body: bytes) -> bytes:
        header = [line for line in lines if line and not line.lower().startswith(("connection:", "expect:"))]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        async with _closed(writer):
            writer.write("\r\n".join([*header, "Connection: close", "", ""]).encode("latin-1") + body)
            await writer.drain()
            return await reader.read()


@asynccontextmanager
async def _closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end, or abort it if the proxy stops first."""
    try:
        yield
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    finally:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, so that the client gets an error."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def run_fault_proxy(upstream: int, faults: Faults, host: str = "127.0.0.1") -> Iterator[FaultProxy]:
    """Run a proxy in a thread, in front of the server at a loopback port."""
    proxy, loop, ready = FaultProxy(upstream, faults, host), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def work() -> None:
        listening = await asyncio.start_server(proxy.serve, host, 0)
        proxy.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        listening.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the loop close their connections

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),), name="proxy")
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
