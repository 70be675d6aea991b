"""Runs attention and Native Sparse Attention artifacts on a GPU and compares them with plain formulas in f64.

    nsa build examples/nsa.nsa --set g=1 --targets sm_90a -o nsa.nsak         (where the compiler is)
    python measure/scripts/against_formulas.py nsa-run nsa.nsak ...           (where the GPU is)

Needs PyTorch on the GPU machine, and `nsa-run`. The formulas are written from "Native Sparse Attention" (arXiv 2502.11089, equations
7 to 12), not from this repository's programs. Inputs are fresh random numbers, results are poisoned before the launch, and
each shape runs twice and must give the same bits. Lists of blocks are the kernel's own, once they are seen to be right: equal to the
best ones but where the scores at the cut differ by less than a part in a hundred (inputs of the scores are rounded to 8 bits).
Prints a line for each artifact, and every shape that is wrong.
"""

import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import torch

TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "I32": torch.int32}
TOLERANCE = 5e-3
NEAR_TIE = 1e-2

LENGTHS = [1, 2, 15, 31, 32, 33, 63, 64, 65, 127, 200, 333, 1000, 1024, 2047]
SHAPES = [([n], [n], 1.0) for n in LENGTHS] + [
    ([0, 15, 205, 550, 800], [0, 15, 205, 550, 800], 1.0),
    ([2, 0, 7], [1500, 3, 64], 1.0),
    ([1], [4096], 1.0),
    ([333], [333], 60.0),
    ([2047], [2047], 60.0),
    ([700], [700], 0.0),
]


def read(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        if begin == end:
            tensors[name] = torch.zeros(info["shape"], dtype=TYPES[info["dtype"]], device="cuda")
            continue
        raw = bytearray(data[8 + size + begin:8 + size + end])
        tensors[name] = torch.frombuffer(raw, dtype=TYPES[info["dtype"]]).reshape(info["shape"]).cuda()
    return tensors


def attend(q, k, v, visible):
    """q [t, g, r, d], k [s, g, d], v [s, g, e], visible [t, g, s] -> o, log-sum-exp, probabilities; rows that see nothing are 0."""
    scores = torch.einsum("tgrd,sgd->tgrs", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~visible[:, :, None, :], -torch.inf)
    lse = torch.logsumexp(scores, -1)
    p = torch.exp(scores - torch.where(lse.isinf(), torch.zeros_like(lse), lse)[..., None])
    return torch.einsum("tgrs,sge->tgre", p, v), lse, p


def full(constants, q, k, v, position, **_):
    visible = torch.arange(len(k), device="cuda")[None, :] <= position[:, None]
    return attend(q, k, v, visible[:, None, :].expand(-1, k.shape[1], -1))[0]


def best_lists(mass, position, constants):
    """The n best blocks of each row, ascending, -1 behind them, and how close the choice is, relatively."""
    block, n, first, local = (constants[name] for name in ("BLOCK", "N", "FIRST", "LOCAL"))
    blocks = torch.arange(mass.shape[-1], device="cuda")
    own = position // block
    candidate = blocks[None, :] <= own[:, None]
    forced = ((blocks[None, :] < first) | (blocks[None, :] + local > own[:, None])) & candidate
    rank = torch.where(forced[:, None, :], torch.inf, mass)
    rank = torch.where(candidate[:, None, :], rank, -torch.inf)
    order = torch.sort(rank, dim=-1, descending=True, stable=True)
    lists = torch.where(order.values > -torch.inf, order.indices, -1)[..., :n]
    lists = torch.nn.functional.pad(lists, (0, max(0, n - lists.shape[-1])), value=-1)
    lists = torch.where(lists < 0, 1 << 30, lists).sort(-1).values
    lists = torch.where(lists == 1 << 30, -1, lists)
    return lists


def sparse(constants, q, k, v, gate, position, chosen, **_):
    length, stride, block, window = (constants[name] for name in ("L", "STRIDE", "BLOCK", "WINDOW"))
    count, groups = len(k), k.shape[1]
    dtype = constants["dtype"]
    windows = max(0, (count - length) // stride + 1)
    keys = torch.arange(windows, device="cuda")[:, None] * stride + torch.arange(length, device="cuda")[None, :]
    kc, vc = (x[keys].mean(1).to(dtype).double() for x in (k, v))
    seen = torch.arange(windows, device="cuda")[None, :] * stride + length - 1 <= position[:, None]
    oc, _, p = attend(q, kc, vc, seen[:, None, :].expand(-1, groups, -1))
    blocks = -(-count // block)
    start, edge = torch.arange(windows, device="cuda") * stride, torch.arange(blocks, device="cuda") * block
    overlap = torch.minimum(start[:, None] + length, edge[None, :] + block) - torch.maximum(start[:, None], edge[None, :])
    mass = torch.einsum("tgi,ib->tgb", p.sum(2), overlap.clamp(min=0).double() / stride)
    best = best_lists(mass, position, constants)
    chosen = best if chosen is None else chosen.long()
    # Lists that differ must be as good: the same number, forced ones included, and the sum of the scores the same but for rounding.
    def total(lists):
        return torch.where(lists >= 0, mass.gather(-1, lists.clamp(min=0)), 0.0).sum(-1)
    differs = (chosen != best).any(-1)
    # Ascending, each once, of candidates, -1 behind them.
    order = torch.where(chosen < 0, 1 << 30, chosen)
    good = bool(((order[..., 1:] > order[..., :-1]) | (order[..., 1:] == 1 << 30)).all())
    good &= bool((chosen <= (position // block)[:, None, None]).all())
    good &= bool(((chosen >= 0).sum(-1) == (best >= 0).sum(-1)).all())
    if blocks and len(position):
        short = (total(best) - total(chosen)) / total(best).clamp(min=1e-30)
        good &= not bool((short[differs] > NEAR_TIE).any())
    if not good:
        return None
    of_block = torch.zeros(len(q), groups, blocks + 1, dtype=torch.bool, device="cuda")
    of_block.scatter_(-1, torch.where(chosen >= 0, chosen, blocks), True)
    at = torch.arange(count, device="cuda")
    causal = (at[None, :] <= position[:, None])[:, None, :]
    os = attend(q, k, v, of_block[..., at // block] & causal)[0]
    near = causal & (at[None, None, :] + window > position[:, None, None])
    ow = attend(q, k, v, near.expand(-1, groups, -1))[0]
    return sum(gate[..., n, None] * o for n, o in enumerate((oc, os, ow)))


def relative(found, expected):
    if expected.numel() == 0:
        return 0.0
    norm = expected.norm()
    return ((found.double() - expected).norm() / norm).item() if norm > 0 else found.double().norm().item()


def check(nsa_run, artifact, seed):
    worst, wrong = 0.0, []
    for t, s, scale in SHAPES:
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            lengths = ["t=" + ",".join(map(str, t)), "s=" + ",".join(map(str, s))]
            command = [nsa_run, "dump", artifact, *lengths, "--outputs", file.name, "--seed", str(seed), "--scale", str(scale)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode != 0:
                wrong.append(f"{lengths} x{scale}: {(run.stdout + run.stderr).strip()}")
                continue
            constants = {name: int(x) for name, x in json.loads(run.stdout)["constants"].items()}
            tensors = read(file.name)
        formula = sparse if "N" in constants else full
        inputs = {name[6:]: tensor.double() for name, tensor in tensors.items() if name.startswith("input.")}
        constants["dtype"] = tensors["input.k"].dtype
        expected, first_t, first_s = [], 0, 0
        for own_t, own_s in zip(t, s):
            q, gate = (inputs[n][first_t:first_t + own_t] if n in inputs else None for n in ("q", "gate"))
            k, v = (inputs[n][first_s:first_s + own_s] for n in ("k", "v"))
            chosen = tensors.get("stored.chosen")
            chosen = None if chosen is None else chosen[first_t:first_t + own_t]
            position = torch.arange(own_t, device="cuda") + own_s - own_t
            step = max(1, (1 << 26) // max(1, own_s * q.shape[1] * q.shape[2]))
            for at in range(0, own_t, step):
                rows = slice(at, at + step)
                part = {"gate": None if gate is None else gate[rows], "chosen": None if chosen is None else chosen[rows]}
                expected.append(formula(constants, q=q[rows], k=k, v=v, position=position[rows], **part))
            first_t, first_s = first_t + own_t, first_s + own_s
        if any(part is None for part in expected):
            wrong.append(f"{lengths} x{scale}: the lists are not the best ones")
            continue
        error = relative(tensors["result.o"], torch.cat(expected))
        worst = max(worst, error)
        if not error <= TOLERANCE:
            wrong.append(f"{lengths} x{scale}: error {error:.2e}")
    return worst, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("nsa_run", help="the nsa-run binary")
    parser.add_argument("artifacts", nargs="+", help="files of `nsa build`")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 24))
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, seed {arguments.seed}, {len(SHAPES)} shapes each")
    failed = 0
    for artifact in arguments.artifacts:
        worst, wrong = check(arguments.nsa_run, artifact, arguments.seed)
        print(f"{pathlib.Path(artifact).stem:40} largest error {worst:.2e}  {'ok' if not wrong else 'WRONG'}", flush=True)
        for line in wrong:
            print("    " + line)
        failed += len(wrong)
    print(f"{failed} wrong")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
