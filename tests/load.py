"""A server and a detector under load: `python -m tests.load --clients 8 --requests 200`.

Starts `examples/server.py`, sends photographs from several clients at once, and compares every
answer with what the detector gives alone; then one detector finds them in as many threads. Exit
status 1 where an answer is wrong or the server's memory grows by more than 5 %.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
def server(weights: str | None) -> Iterator[tuple[str, int]]:
    """Address and process id of a server on a free port; it ends with the `with`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    # As docs/howto/server.md has it: otherwise the allocator keeps a heap for every thread.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    if weights is not None:
        environment["WEIGHTS"] = weights
    words = ["--app-dir", str(ROOT / "examples"), "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "server:app", *words], env=environment
    )
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + START
    try:
        while True:
            try:
                httpx.get(f"{address}/openapi.json", timeout=5).raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end, "it does not answer"
                time.sleep(0.1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def resident(process: int) -> float:
    """MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def content(text: str) -> dict[str, Any]:
    """What must be the same in every answer: all but the name of the file."""
    return {key: value for key, value in json.loads(text).items() if key != "image"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    photographs = sorted((ROOT / "data" / "samples").glob("*.jpg"))
    detector = SpikingYOLO(options.weights)
    expected = [content(detector.detect(path).to_json()) for path in photographs]

    def find(number: int) -> bool:
        k = number % len(photographs)
        return content(detector.detect(photographs[k]).to_json()) == expected[k]

    with ThreadPoolExecutor(options.clients) as pool:
        wrong = list(pool.map(find, range(2 * options.clients))).count(False)
    print(f"one detector in {options.clients} threads: {wrong} wrong", flush=True)
    memory: list[float] = []
    seconds: list[float] = []
    with server(options.weights) as (address, process), httpx.Client(timeout=ANSWER) as client:

        def ask(number: int) -> bool:
            k = number % len(photographs)
            begin = time.perf_counter()
            file = {"file": (photographs[k].name, photographs[k].read_bytes())}
            answer = client.post(f"{address}/detect", files=file)
            seconds.append(time.perf_counter() - begin)
            memory.append(resident(process))
            return answer.status_code == 200 and content(answer.text) == expected[k]

        with ThreadPoolExecutor(options.clients) as pool:
            # Memory of a process grows with its threads at first.
            wrong += list(pool.map(ask, range(options.requests))).count(False)
            seconds.clear()
            memory.clear()
            wrong += list(pool.map(ask, range(options.requests))).count(False)
    quarter = max(1, len(memory) // 4)
    first, last = float(np.median(memory[:quarter])), float(np.median(memory[-quarter:]))
    middle, high = np.percentile(seconds, (50, 95))
    print(
        f"{options.requests} requests of {options.clients} clients: {wrong} wrong; latency median"
        f" {1e3 * middle:.0f} ms, 95 % {1e3 * high:.0f} ms; memory {first:.0f} to {last:.0f} MB"
    )
    return int(wrong > 0 or last > (1 + MOST_GROWTH) * first)


if __name__ == "__main__":
    sys.exit(main())
