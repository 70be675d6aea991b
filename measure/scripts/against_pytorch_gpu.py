"""Times artifacts on a GPU beside PyTorch's full attention, in one run, and prints the ratios.

    nsa build examples/nsa.nsa --targets sm_90a -o nsa.nsak                   (where the compiler is)
    python measure/scripts/against_pytorch_gpu.py nsa-run nsa.nsak            (where the GPU is)

Needs PyTorch on the GPU machine, and `nsa-run`. PyTorch runs `scaled_dot_product_attention`, causal, bf16, 64 query heads, keys and
values of 4 KV heads repeated for it, width 128, once through cuDNN and once through FlashAttention-2. Medians of launches.
"""

import argparse
import json
import subprocess

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "FlashAttention-2": SDPBackend.FLASH_ATTENTION}


def attention(length, heads, width, value_width, backend, repeats):
    q, k = (torch.randn(1, heads, length, width, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    v = torch.randn(1, heads, length, value_width, dtype=torch.bfloat16, device="cuda")
    times = []
    with sdpa_kernel(backend):
        for number in range(repeats + 2):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            end.record()
            torch.cuda.synchronize()
            if number >= 2:
                times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def program(nsa_run, artifact, length, seconds):
    command = [nsa_run, "time", artifact, f"t={length}", f"s={length}", "--seconds", str(seconds)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("nsa_run", help="the nsa-run binary")
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--lengths", default="8192,16384,32768,65536")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--value-width", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    lengths = [int(n) for n in arguments.lengths.split(",")]
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; ms")
    print(f"{'':28}" + "".join(f"{n:>10}" for n in lengths))
    rows = {}
    for name, backend in BACKENDS.items():
        try:
            rows[name] = [attention(n, 64, arguments.width, arguments.value_width, backend, 5) for n in lengths]
        except RuntimeError as error:
            print(f"{name}: {str(error).splitlines()[0]}")
            continue
        print(f"{name:28}" + "".join(f"{x:10.3f}" for x in rows[name]), flush=True)
    for artifact in arguments.artifacts:
        reports = [program(arguments.nsa_run, artifact, n, arguments.seconds) for n in lengths]
        times = [1e3 * r["seconds"]["median"] for r in reports]
        print(f"{artifact.rsplit('/', 1)[-1]:28}" + "".join(f"{x:10.3f}" for x in times), flush=True)
        for number, (kernel, _) in enumerate(reports[-1]["seconds"]["kernels"]):
            own = [1e3 * r["seconds"]["kernels"][number][1] for r in reports if len(r["seconds"]["kernels"]) > number]
            print(f"  {kernel:26}" + "".join(f"{x:10.3f}" for x in own))
        for name, base in rows.items():
            print(f"  {name + ' / this':26}" + "".join(f"{b / x:10.2f}" for b, x in zip(base, times)))
        print(f"  {'workspace, MB':26}" + "".join(f"{r['workspace_bytes'] / 1e6:10.1f}" for r in reports), flush=True)


if __name__ == "__main__":
    main()
