#!/usr/bin/env python3
"""Runs on the GPU of this machine what `nsa run --device vm --record FOLDER` ran in the interpreter, and compares.

Usage:
    ptx-vm/tests/conformance/export.sh NSA FOLDER            # anywhere; NSA is the command's path
    python3 replay.py FOLDER OUTPUT                          # with a GPU; needs only libcuda, and record.py beside it

FOLDER has one folder a case. OUTPUT gets `differential.txt`, a line per case and result: elements, how many differ, by how many units in the last
place at most, and by which part of the largest value; and the GPU's results that differ, CASE.NAME.bin.
"""
import ctypes
import json
import pathlib
import struct
import sys

from record import check, cuda, open_device

FORMATS = {"bf16": ("H", 2), "f16": ("H", 2), "f32": ("I", 4), "i32": ("i", 4)}


def ordered(bits, width):
    """Float patterns as integers in the order of their values."""
    magnitude = bits & ((1 << (width - 1)) - 1)
    return -magnitude if bits >> (width - 1) else magnitude


def replay(folder):
    description = json.loads((folder / "run.json").read_text())
    module = ctypes.c_void_p()
    check(cuda.cuModuleLoadData(ctypes.byref(module), (folder / "code.ptx").read_bytes() + b"\0"), "cuModuleLoadData")
    addresses = []
    try:
        for block in description["memory"]:
            data = (folder / block["input"]).read_bytes() if "input" in block else None
            size = max(1, len(data) if data is not None else block.get("workspace", block.get("bytes", 0)))
            address = ctypes.c_uint64()
            check(cuda.cuMemAlloc_v2(ctypes.byref(address), size), "cuMemAlloc")
            addresses.append(address)
            if data:
                check(cuda.cuMemcpyHtoD_v2(address, data, len(data)), "cuMemcpyHtoD")
            elif data is None:
                check(cuda.cuMemsetD8_v2(address, 0xFF, size), "cuMemsetD8")
        for launch in description["launches"]:
            function = ctypes.c_void_p()
            check(cuda.cuModuleGetFunction(ctypes.byref(function), module, launch["entry"].encode()), launch["entry"])
            check(cuda.cuFuncSetAttribute(function, 8, launch["shared"]), "cuFuncSetAttribute")
            words = [
                ctypes.c_uint64(addresses[w["address"]].value if "address" in w else w["value"]) for w in launch["words"]
            ]
            arguments = (ctypes.c_void_p * len(words))(*[ctypes.addressof(w) for w in words])
            check(
                cuda.cuLaunchKernel(
                    function, launch["blocks"], 1, 1, launch["threads"], 1, 1, launch["shared"], None, arguments, None
                ),
                launch["entry"],
            )
        check(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
        results = {}
        for block, address in zip(description["memory"], addresses):
            if "output" in block:
                result = ctypes.create_string_buffer(max(1, block["bytes"]))
                check(cuda.cuMemcpyDtoH_v2(result, address, block["bytes"]), "cuMemcpyDtoH")
                results[block["output"]] = (block, result.raw[: block["bytes"]])
        return results
    finally:
        for address in addresses:
            cuda.cuMemFree_v2(address)
        cuda.cuModuleUnload(module)


def value(bits, kind):
    """A pattern as a number."""
    if kind == "bf16":
        return struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    if kind == "f16":
        return struct.unpack("<e", struct.pack("<H", bits))[0]
    return struct.unpack("<f", struct.pack("<I", bits))[0] if kind == "f32" else bits


def compare(folder, block, result):
    """Elements, how many differ, the largest distance in units in the last place, and the largest difference as a part of the largest value."""
    kind = block["type"]
    letter, size = FORMATS[kind]
    expected = (folder / block["expected"]).read_bytes()
    count = len(result) // size
    mine = struct.unpack(f"<{count}{letter}", expected)
    theirs = struct.unpack(f"<{count}{letter}", result)
    differing = [(x, y) for x, y in zip(mine, theirs) if x != y]
    if not differing:
        return count, 0, 0, 0.0
    if kind == "i32":
        return count, len(differing), max(abs(x - y) for x, y in differing), 0.0
    most = max(abs(ordered(x, 8 * size) - ordered(y, 8 * size)) for x, y in differing)
    largest = max((abs(v) for v in (value(x, kind) for x in mine) if v == v and abs(v) != float("inf")), default=0.0)
    away = max(abs(value(x, kind) - value(y, kind)) for x, y in differing)
    return count, len(differing), most, away / largest if largest else float("inf")


def main():
    folder, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    open_device(announce=True)
    output.mkdir(parents=True, exist_ok=True)
    failed = 0
    with open(output / "differential.txt", "w") as table:
        for case in sorted(p.parent for p in folder.glob("*/run.json")):
            try:
                for name, (block, result) in replay(case).items():
                    count, differing, most, part = compare(case, block, result)
                    line = f"{case.name} {name} {block['type']}: {count} elements, {differing} differ, by at most {most} ulp"
                    line += f" and {part:.1e} of the largest" if differing else ""
                    print(line, file=table)
                    if differing:
                        (output / f"{case.name}.{name}.bin").write_bytes(result)
            except RuntimeError as error:
                failed += 1
                print(f"{case.name}: {error}", file=table)
    print((output / "differential.txt").read_text())
    print(f"{failed} cases failed to run")


main()
