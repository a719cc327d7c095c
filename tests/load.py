"""A server under load: `python -m tests.load --clients 8 --requests 200 --photographs FOLDER`.

Starts `examples/server.py`, sends photographs one after the other from one client, then from
several at once, with --source while its stream is read again and again, and compares every answer
with what the detector gives alone. Prints latencies and memory; exit status 1 where an answer is
wrong or memory grows by more than 5 %.
"""

import argparse
import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from spiking_yolo import SpikingYOLO

ROOT = Path(__file__).parents[1]
# Seconds until a server answers, and for one answer.
START, ANSWER = 120, 300
# Of the resident set.
MOST_GROWTH = 0.05


@contextmanager
def server(weights: str | None, source: str | None) -> Iterator[tuple[str, int]]:
    """Address and process id of a server on a free port; it ends with the `with`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    # As docs/howto/server.md has it: otherwise the allocator keeps a heap for every thread.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    for name, value in (("WEIGHTS", weights), ("SOURCE", source)):
        if value is not None:
            environment[name] = value
    words = ["--app-dir", str(ROOT / "examples"), "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "server:app", *words], env=environment
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def wait_until_it_answers(address: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START
    while True:
        try:
            httpx.get(f"{address}/openapi.json", timeout=5).raise_for_status()
            return
        except httpx.TransportError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)


def resident(process: int) -> float:
    """MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def content(result: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every answer: all but the name of the file."""
    return {key: value for key, value in result.items() if key != "image"}


@dataclass(frozen=True)
class Load:
    """What a number of requests gave.

    Attributes:
        wrong: Answers that are not what the detector gives alone.
        seconds: Of each request.
        wall: Seconds of all of them.
        memory: MB of the server after every tenth request.
    """

    wrong: int
    seconds: list[float]
    wall: float
    memory: list[float]

    def __str__(self) -> str:
        median, high = np.percentile(self.seconds, (50, 95))
        return (
            f"{len(self.seconds)} requests, {self.wrong} wrong; {len(self.seconds) / self.wall:.3g}"
            f" per second; latency median {1e3 * median:.0f} ms, 95 % {1e3 * high:.0f} ms;"
            f" memory {self.memory_first:.0f} to {self.memory_last:.0f} MB"
        )

    @property
    def memory_first(self) -> float:
        """Median of the first quarter of the looks at memory."""
        return float(np.median(self.memory[: max(1, len(self.memory) // 4)]))

    @property
    def memory_last(self) -> float:
        """Median of the last quarter."""
        return float(np.median(self.memory[-max(1, len(self.memory) // 4) :]))


def load(
    address: str,
    process: int,
    photographs: Sequence[Path],
    expected: Sequence[dict[str, Any]],
    requests: int,
    clients: int,
) -> Load:
    """Send the photographs in turn from so many clients at once."""
    files = [path.read_bytes() for path in photographs]
    memory: list[float] = []
    count = itertools.count(1)

    def ask(number: int) -> tuple[bool, float]:
        k = number % len(files)
        start = time.perf_counter()
        answer = client.post(f"{address}/detect", files={"file": (photographs[k].name, files[k])})
        seconds = time.perf_counter() - start
        if next(count) % 10 == 0:
            memory.append(resident(process))
        right = answer.status_code == 200 and content(answer.json()) == content(expected[k])
        return right, seconds

    start = time.perf_counter()
    with httpx.Client(timeout=ANSWER) as client, ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, range(requests)))
    wall = time.perf_counter() - start
    wrong = sum(not right for right, _ in answers)
    return Load(wrong, [seconds for _, seconds in answers], wall, memory or [resident(process)])


@contextmanager
def watched(address: str) -> Iterator[list[bytes]]:
    """The stream is read meanwhile, again and again; the SHA-256 of each reading."""
    stop, digests = threading.Event(), []

    def watch() -> None:
        while not stop.is_set():
            content = httpx.get(f"{address}/stream", timeout=ANSWER).content
            digests.append(hashlib.sha256(content).digest())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield digests
    finally:
        stop.set()
        thread.join()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--photographs", type=Path, default=ROOT / "data" / "samples")
    parser.add_argument("--source", help="of the stream; without one none is read")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args(words)
    photographs = sorted(
        path for path in options.photographs.iterdir() if path.suffix in (".jpg", ".png")
    )
    detector = SpikingYOLO(options.weights)
    expected = [json.loads(detector.detect(path).to_json()) for path in photographs]
    with server(options.weights, options.source) as (address, process):

        def loaded(requests: int, clients: int) -> Load:
            return load(address, process, photographs, expected, requests, clients)

        # The first requests of a process are slower, and its memory grows with its threads.
        loaded(2 * len(photographs), 1)
        alone = loaded(options.requests, 1)
        print(f"1 client: {alone}", flush=True)
        with watched(address) if options.source else nullcontext([]) as streams:
            loaded(options.requests, options.clients)
            together = loaded(options.requests, options.clients)
        print(f"{options.clients} clients: {together}")
    if streams:
        print(f"beside {len(streams)} streams, {len(set(streams)) - 1} of them wrong")
    wrong = alone.wrong or together.wrong or len(set(streams)) > 1
    return int(wrong or together.memory_last > (1 + MOST_GROWTH) * together.memory_first)


if __name__ == "__main__":
    sys.exit(main())
