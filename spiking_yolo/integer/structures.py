"""The structures of program.h and neuron.h under their names, read off those files: what C and
Python share is written down once.
"""

import ctypes
import re
from ctypes import c_double, c_float, c_int64, c_void_p
from pathlib import Path
from typing import Any

_NUMBERS = {"int64_t": c_int64, "double": c_double, "float": c_float}


def _structures(source: str) -> dict[str, Any]:
    """Name -> structure, of declarations such as `int64_t h, w; Part *part; Term term[TERMS];`."""
    lengths = dict(re.findall(r"\b([A-Z]+) = (\d+)", source))
    found: dict[str, Any] = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", source, re.DOTALL):
        members: list[tuple[str, Any]] = []
        for kind, names in re.findall(r"(?:const )?(\w+) ([^;]+);", body):
            for one in names.split(","):
                star, member, length = re.findall(r"(\**)(\w+)(?:\[(\w+)\])?", one)[0]
                of = c_void_p if star else _NUMBERS.get(kind) or found.get(kind)
                if of is None:
                    break
                members.append((member, of * int(lengths[length]) if length else of))
        found[name] = type(name, (ctypes.Structure,), {"_fields_": members})
    return found


def _enumerations(source: str) -> dict[str, int]:
    """Name -> number, of lists of names such as `enum { EVENTS, DIRECT };`."""
    found: dict[str, int] = {}
    for names in re.findall(r"enum \{ ([A-Z, ]+) \};", source):
        found |= {name: k for k, name in enumerate(names.split(", "))}
    return found


_folder = Path(__file__).parent
_source = "".join((_folder / name).read_text("utf-8") for name in ("neuron.h", "program.h"))
_all, _kinds = _structures(_source), _enumerations(_source)

Layer, Marks, Map, Part, Window = (_all[x] for x in ("Layer", "Marks", "Map", "Part", "Window"))
Block, Convolution, Term, Reach = (_all[x] for x in ("Block", "Convolution", "Term", "Reach"))
Neurons, Head, Pooling, Image = (_all[x] for x in ("Neurons", "Head", "Pooling", "Image"))
Attention, Step, Program = (_all[x] for x in ("Attention", "Step", "Program"))
# Kinds of a step, and of a convolution.
IMAGE, SUMS, NEURONS, HEAD = (_kinds[x] for x in ("IMAGE", "SUMS", "NEURONS", "HEAD"))
POOLING, ATTENTION, OUTSIDE = (_kinds[x] for x in ("POOLING", "ATTENTION", "OUTSIDE"))
KERNELS = {name.lower(): _kinds[name] for name in ("EVENTS", "DIRECT", "DEPTHWISE", "VALUE")}
