"""Serve objects in memory by the S3 protocol, with a latency and counts of requests, in a separate process.

The key `copies/NUMBER.zarr/NAME` in the bucket `lake` answers with the template of NAME: a hundred thousand sources
take the memory of one. Signatures are not checked.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["MemoryS3", "run_memory_s3"]

_COPY = re.compile(r"copies/(\d+)\.zarr(?:/(.*))?")
_ZERO = formatdate(0, usegmt=True)


class _Server:
    def __init__(self, template: Mapping[str, bytes], copies: int, delay: float) -> None:
        self.template, self.copies, self.delay = dict(template), copies, delay
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.concurrent = self.max_concurrent = 0

    def find(self, key: str) -> bytes | None:
        if key in self.objects:
            return self.objects[key]
        copy = _COPY.fullmatch(key)
        return self.template.get(copy[2] or "") if copy and int(copy[1]) < self.copies else None

    def keys(self, prefix: str) -> list[str]:
        copy = _COPY.match(prefix)
        found = [key for key in self.objects if key.startswith(prefix)] if len(self.objects) < 10_000 else []
        if copy and int(copy[1]) < self.copies:
            directory = f"copies/{copy[1]}.zarr/"
            found += [directory + name for name in self.template if (directory + name).startswith(prefix)]
        return sorted(found)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split(" ", 2)
                fields = dict(re.findall(r"\r\n([^:\r]+): ?([^\r]*)", head.lower()))
                if "expect" in fields:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                self.concurrent += 1
                self.max_concurrent = max(self.max_concurrent, self.concurrent)
                await asyncio.sleep(self.delay)
                self.concurrent -= 1
                writer.write(self.answer(method, target, fields, body))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def answer(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> bytes:
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        if method == "GET" and not key:
            self.requests["LIST"] += 1
            return _response(200, self.list(query["prefix"][0] if "prefix" in query else "", "delimiter" in query))
        self.requests[method] += 1
        if method == "PUT":
            if fields.get("if-none-match") == "*" and key in self.objects:
                return _response(412, b"")
            self.objects[key] = body
            return _response(200, b"", {"ETag": f'"{md5(body).hexdigest()}"'})
        if method == "DELETE":
            self.objects.pop(key, None)
            return _response(204, b"")
        value = self.find(key)
        if value is None:
            self.requests[f"{method} 404"] += 1
            return _response(404, b"" if method == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>")
        facts = {"ETag": f'"{md5(value).hexdigest()}"', "Last-Modified": _ZERO}
        if span := re.fullmatch(r"bytes=(\d*)-(\d*)", fields.get("range", "")):
            start = int(span[1]) if span[1] else len(value) - int(span[2])
            stop = min(len(value), int(span[2]) + 1) if span[1] and span[2] else len(value)
            facts["Content-Range"] = f"bytes {start}-{stop - 1}/{len(value)}"
            return _response(206, value[start:stop], facts)
        return _response(200, value, facts, only_head=method == "HEAD")

    def list(self, prefix: str, delimited: bool) -> bytes:
        keys = self.keys(prefix)
        folders: dict[str, None] = {}
        if delimited:
            rest = {key: key[len(prefix) :].partition("/") for key in keys}
            folders = dict.fromkeys(prefix + head + "/" for head, slash, _ in rest.values() if slash)
            keys = [key for key in keys if not rest[key][1]]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>1970-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{md5(value).hexdigest()}&quot;</ETag><Size>{len(value)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
            if (value := self.find(key)) is not None
        )
        entries += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        head = f"<Name>lake</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys) + len(folders)}</KeyCount>"
        text = f"{head}<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{entries}"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</ListBucketResult>'
        ).encode()


def _response(status: int, body: bytes, facts: Mapping[str, str] | None = None, *, only_head: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Content-Type: application/xml"]
    lines += [f"{name}: {value}" for name, value in (facts or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if only_head else body)


async def _run(server: _Server, connection: Connection) -> None:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
    connection.send(listening.sockets[0].getsockname()[1])
    while (await asyncio.to_thread(connection.recv)) == "counts":
        connection.send((server.requests, server.max_concurrent))
        server.requests, server.max_concurrent = Counter(), 0


def _main(template: Mapping[str, bytes], copies: int, delay: float, connection: Connection) -> None:
    asyncio.run(_run(_Server(template, copies, delay), connection))


class MemoryS3:
    """A running server."""

    def __init__(self, port: int, connection: Connection) -> None:
        self.url, self._connection = f"http://127.0.0.1:{port}", connection

    def take_counts(self) -> tuple[Counter[str], int]:
        """Return the requests by method, and the most at a time, since the last call."""
        self._connection.send("counts")
        counts: tuple[Counter[str], int] = self._connection.recv()
        return counts


@contextmanager
def run_memory_s3(template: Mapping[str, bytes], copies: int, delay: float = 0.0) -> Iterator[MemoryS3]:
    """Run a server with a bucket `lake` that holds `copies/NUMBER.zarr`, whose objects are those of the template.

    Args:
        template: Objects of a source by name.
        copies: Number of sources.
        delay: Latency of each request, seconds.

    Yields:
        The server.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_main, args=(template, copies, delay, there), daemon=True)
    process.start()
    try:
        yield MemoryS3(here.recv(), here)
    finally:
        here.send("stop")
        process.join(10)
        process.kill()
