"""A proxy that stands between a client and an S3 server and spoils a share of the requests, by seed."""

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

__all__ = ["Faults", "Proxy", "proxy"]

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Faults:
    """Shares of the requests. ``reset_before``, ``reset_after``: the connection is reset before the server has seen
    the request, and after it has done what it asks; ``delay``: seconds that every request takes longer."""

    slow_down: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    hang: float = 0.0
    delay: float = 0.0
    seed: int = 0


@dataclass
class Proxy:
    """``methods``: requests that came; ``done``: what became of them; ``most``: at a time."""

    upstream: int
    faults: Faults
    host: str = "127.0.0.1"
    port: int = 0
    methods: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    most: int = 0
    _now: int = 0

    def __post_init__(self) -> None:
        self._lots = random.Random(self.faults.seed)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _lot(self) -> str:
        """What becomes of the next request."""
        drawn = self._lots.random()
        for name in ("slow_down", "reset_before", "reset_after", "hang"):
            drawn -= getattr(self.faults, name)
            if drawn < 0:
                return name
        return "answered"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which brings one request."""
        self._now += 1
        self.most = max(self.most, self._now)
        async with _closed(writer):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._request(reader, writer)
        self._now -= 1

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if fields.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(fields.get("content-length") or 0))
        self.methods[lines[0].split()[0]] += 1
        lot = self._lot()
        self.done[lot] += 1
        await asyncio.sleep(self.faults.delay)
        if lot == "slow_down":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n")
            body = b"" if lines[0].startswith("HEAD") else SLOW_DOWN
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        elif lot == "hang":
            await reader.read()  # until the client gives up
        elif lot == "reset_before":
            _reset(writer)
        else:
            answer = await self._forward(lines, body)
            if lot == "reset_after":
                _reset(writer)
            else:
                writer.write(answer)
                await writer.drain()

    async def _forward(self, lines: list[str], body: bytes) -> bytes:
        kept = [line for line in lines if line and not line.lower().startswith(("connection:", "expect:"))]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        async with _closed(writer):
            writer.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body)
            await writer.drain()
            return await reader.read()


@asynccontextmanager
async def _closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Closed at the end; where the proxy ends before, at once: no connection is left to the garbage collector."""
    try:
        yield
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    finally:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection in the rude way: whoever waits for an answer gets an error."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxy(upstream: int, faults: Faults, host: str = "127.0.0.1") -> Iterator[Proxy]:
    """The proxy at an address of this machine, before the server on that port of it, in a thread of its own."""
    made, loop, ready = Proxy(upstream, faults, host), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def work() -> None:
        listening = await asyncio.start_server(made.serve, host, 0)
        made.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # in which the loop closes their connections

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),), name="proxy")
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
