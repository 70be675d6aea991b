"""Times a program of this repository on the host against PyTorch's full attention on the same processor, in turns.

    cargo build --release
    python measure/scripts/against_pytorch_cpu.py target/release/nsa examples/nsa.nsa --length 16384

Needs PyTorch. Both use the same number of threads. PyTorch runs `scaled_dot_product_attention`, causal, with the heads of the
program (64 query heads, 4 KV heads, width 128 unless given), in f32 and in bf16; the faster of the two counts. Every round
runs each of them once. Printed are the least wall and processor times over the rounds: where the machine has other work, the
processor time is what to compare. `nsa run` compares with the reference unless --length is large.
"""

import argparse
import json
import os
import resource
import subprocess
import time

import torch


def processor():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def attention(arguments, dtype):
    torch.manual_seed(0)
    shape = lambda heads: (1, heads, arguments.length, arguments.width)
    q = torch.randn(shape(arguments.heads), dtype=dtype)
    k = torch.randn(shape(arguments.kv_heads), dtype=dtype)
    v = torch.randn(shape(arguments.kv_heads), dtype=dtype)
    start, own = time.perf_counter(), processor()
    torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return time.perf_counter() - start, processor() - own


def program(arguments):
    sizes = [f"t={arguments.length}", f"s={arguments.length}"]
    command = [arguments.nsa, "run", arguments.program, "--device", arguments.device, "--seconds", "0", "--json"]
    command += ["--reference", "rows" if arguments.check else "none", "--set", *sizes]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(arguments.threads))
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    report = json.loads(output)
    return report["seconds"]["fastest"], report["seconds"]["processor"], report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("nsa", help="the nsa binary")
    parser.add_argument("program", help="the .nsa file")
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="host", help="`host`, or `host:avx512` and so on for no better instruction set")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="compare sampled rows with the reference")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="PyTorch's types")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, {arguments.length} tokens, "
          f"{arguments.heads} query heads, {arguments.kv_heads} KV heads, width {arguments.width}; "
          f"nsa on {arguments.device}")
    best = {}
    for number in range(arguments.rounds):
        runs = {f"PyTorch {name}": attention(arguments, getattr(torch, name)) for name in arguments.dtypes.split(",")}
        *times, report = program(arguments)
        runs["nsa"] = tuple(times)
        for name, (wall, own) in runs.items():
            print(f"  round {number}: {name:18} wall {wall:8.3f} s, processor {own:8.3f} s", flush=True)
            old = best.get(name, (wall, own))
            best[name] = (min(old[0], wall), min(old[1], own))
    pytorch = {name: times for name, times in best.items() if name != "nsa"}
    for number, what in enumerate(["wall", "processor"]):
        name = min(pytorch, key=lambda name: pytorch[name][number])
        ratio = pytorch[name][number] / best["nsa"][number]
        print(f"{what:9} least: {name} {pytorch[name][number]:.3f} s, nsa {best['nsa'][number]:.3f} s: {ratio:.2f} times as fast")
    own, given = report["workspace_bytes"], report["argument_bytes"]
    print(f"memory: arguments and results {given / 1e6:.1f} MB, workspaces {own / 1e6:.1f} MB ({100 * own / given:.1f}%)")
    if arguments.check:
        print("errors:", {name: d["relative"] for name, d in report["differences"].items()})


if __name__ == "__main__":
    main()
