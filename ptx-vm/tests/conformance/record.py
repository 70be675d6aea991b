#!/usr/bin/env python3
"""Records what the GPU of this machine computes for the conformance programs.

Usage:
    cargo run -p ptx-vm --example conformance -- FOLDER      # anywhere; writes the programs
    python3 record.py FOLDER OUTPUT                          # with a GPU; needs only libcuda

OUTPUT gets one file a program, NAME.bin, in a folder named after the compute capability (sm_90); copy it to
ptx-vm/tests/conformance/recorded/. A program that the driver refuses is named on stderr and left out.
"""
import ctypes
import json
import pathlib
import queue
import subprocess
import sys
import threading

cuda = ctypes.CDLL("libcuda.so.1")

# Seconds after which a program is taken to hang.
PATIENCE = 30


def check(code, what):
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{what}: {text.value.decode() if text.value else code}")


def tensor_map(description, address):
    """A CUtensorMap, 64-byte aligned; returns the owner of the memory and its address."""
    raw = ctypes.create_string_buffer(128 + 64)
    at = (ctypes.addressof(raw) + 63) & ~63
    rank = len(description["sizes"])
    sizes = (ctypes.c_uint64 * rank)(*description["sizes"])
    strides = (ctypes.c_uint64 * max(rank - 1, 1))(*description["strides"])
    tile = (ctypes.c_uint32 * rank)(*description["tile"])
    steps = (ctypes.c_uint32 * rank)(*[1] * rank)
    elements = {"u8": 0, "u16": 1, "u32": 2, "s32": 3, "u64": 4, "s64": 5, "f16": 6, "f32": 7, "f64": 8, "bf16": 9, "tf32": 11}
    swizzles = {"none": 0, "32B": 1, "64B": 2, "128B": 3}
    check(
        cuda.cuTensorMapEncodeTiled(
            ctypes.c_void_p(at), elements[description["element"]], rank, ctypes.c_void_p(address), sizes, strides, tile,
            steps, 0, swizzles[description["swizzle"]], 0, int(description["nan"]),
        ),
        "cuTensorMapEncodeTiled",
    )
    return raw, at


def record(folder, name):
    description = json.loads((folder / f"{name}.json").read_text())
    text = (folder / f"{name}.ptx").read_bytes() + b"\0"
    module = ctypes.c_void_p()
    check(cuda.cuModuleLoadData(ctypes.byref(module), text), "cuModuleLoadData")
    try:
        function = ctypes.c_void_p()
        check(cuda.cuModuleGetFunction(ctypes.byref(function), module, b"program"), "cuModuleGetFunction")
        if description["shared"] > 48 * 1024:
            check(cuda.cuFuncSetAttribute(function, 8, description["shared"]), "cuFuncSetAttribute")
        addresses, holders, pointers = [], [], []
        output = None
        for argument in description["arguments"]:
            address = ctypes.c_uint64()
            if "input" in argument:
                data = (folder / argument["input"]).read_bytes()
                check(cuda.cuMemAlloc_v2(ctypes.byref(address), len(data)), "cuMemAlloc")
                check(cuda.cuMemcpyHtoD_v2(address, data, len(data)), "cuMemcpyHtoD")
            elif "output" in argument:
                check(cuda.cuMemAlloc_v2(ctypes.byref(address), argument["output"]), "cuMemAlloc")
                check(cuda.cuMemsetD8_v2(address, 0, argument["output"]), "cuMemset")
                output = (address, argument["output"])
            addresses.append(address)
        for argument, address in zip(description["arguments"], addresses):
            if "map" in argument:
                holder, at = tensor_map(argument["map"], addresses[argument["map"]["over"]].value)
                holders.append(holder)
                pointers.append(at)
            else:
                pointers.append(ctypes.addressof(address))
        arguments = (ctypes.c_void_p * len(pointers))(*pointers)
        check(
            cuda.cuLaunchKernel(
                function, description["grid"], 1, 1, description["threads"], 1, 1, description["shared"], None, arguments, None
            ),
            "cuLaunchKernel",
        )
        check(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
        result = ctypes.create_string_buffer(output[1])
        check(cuda.cuMemcpyDtoH_v2(result, output[0], output[1]), "cuMemcpyDtoH")
        for argument, address in zip(description["arguments"], addresses):
            if "input" in argument or "output" in argument:
                cuda.cuMemFree_v2(address)
        return result.raw
    finally:
        cuda.cuModuleUnload(module)


def open_device(announce=False):
    """Makes the first GPU's primary context current; returns the compute capability."""
    check(cuda.cuInit(0), "cuInit")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    check(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    name = ctypes.create_string_buffer(256)
    version = ctypes.c_int()
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if announce:
        print(f"{name.value.decode()}, CUDA {version.value // 1000}.{version.value % 1000 // 10}")
    return f"{major.value}{minor.value}"


def work(folder, target, names):
    """Records programs one after the other; says which one it is at, and what is refused."""
    open_device()
    for name in names:
        print(f"at {name}", flush=True)
        try:
            (target / f"{name}.bin").write_bytes(record(folder, name))
            print("recorded", flush=True)
        except RuntimeError as error:
            print(f"refused {error}", flush=True)
            # An error of the kernel itself leaves a context that refuses everything after it.
            return


def listen(stream, lines):
    for line in stream:
        lines.put(line.strip())
    lines.put(None)


def main():
    if sys.argv[1] == "--work":
        return work(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
    folder, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    names = sorted(description.stem for description in folder.glob("*.json"))
    target = output / f"sm_{open_device(announce=True)}"
    target.mkdir(parents=True, exist_ok=True)
    recorded = refused = 0
    # Another process does the work: after a fault, or where a program hangs, a new one goes on with the next program.
    while names:
        command = [sys.executable, __file__, "--work", str(folder), str(target), *names]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = queue.Queue()
        threading.Thread(target=listen, args=(worker.stdout, lines), daemon=True).start()
        at = None
        while True:
            try:
                line = lines.get(timeout=PATIENCE)
            except queue.Empty:
                line = f"refused it did not end in {PATIENCE} s"
                worker.kill()
            word, _, rest = (line or "refused the process ended").partition(" ")
            if word == "at":
                at = rest
            elif word == "recorded":
                recorded += 1
                names.remove(at)
                at = None
                if not names:
                    break
            elif word == "refused":
                refused += 1
                at = at or names[0]
                print(f"{at}: {rest}", file=sys.stderr)
                names.remove(at)
                break
        worker.wait()
    print(f"{recorded} programs recorded in {target}, {refused} refused")


if __name__ == "__main__":
    main()
