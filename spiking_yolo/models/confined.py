"""Run `isolated.write_network` in a process with as few rights as the system lets it give up.

    python -P -m spiking_yolo.models.confined CHECKPOINT OUTPUT

A pickle that is trusted can still do what the user can do to files. It gets no network on a Linux that lets users make
namespaces, and on every Unix no more memory, time and disk than a checkpoint needs. What is given up must be so before
torch starts its threads, so nothing heavy is imported above.
"""

import ctypes
import sys
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import shown

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2); os has it from Python 3.12 on
MEMORY, SECONDS, FILE = 32 << 30, 600, 4 << 30  # bytes of address space, of processor time, bytes of any file


def confine() -> bool:
    """Give up the network, and what is beyond the limits. Returns whether the network is gone."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    limits = {"AS": MEMORY, "CPU": SECONDS, "FSIZE": FILE, "CORE": 0}
    for name, most in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        soft, hard = resource.getrlimit(which)
        allowed = [most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
        resource.setrlimit(which, (min(allowed), hard))
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    return unshare is not None and any(unshare(flags) == 0 for flags in (_NEW_USER | _NEW_NETWORK, _NEW_NETWORK))


def main(checkpoint: str, output: str) -> None:
    confine()
    from spiking_yolo.models.isolated import write_network

    try:
        write_network(Path(checkpoint), Path(output))
    except UserError as error:
        print("error:", shown(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
