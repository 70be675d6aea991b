"""Runs attention and Native Sparse Attention and compares the results with plain formulas in f64.

    nsa build examples/nsa.nsa --set g=1 --targets sm_90a -o nsa.nsak         (where the compiler is)
    python measure/scripts/against_formulas.py nsa-run nsa.nsak ...           (where the GPU is)
    python measure/scripts/against_formulas.py nsa examples/nsa_mlp.nsa --set g=1 r=2        (on the host: programs, by the compiler)

Needs PyTorch, and `nsa-run` or `nsa`. The formulas are written from "Native Sparse Attention" (arXiv 2502.11089, equations
7 to 12), not from this repository's programs. Inputs are fresh random numbers; on a GPU results are poisoned before the launch, and
each shape runs twice and must give the same bits. Compressed keys and values are the kernel's own where it stores them, once they are seen to
be right: scores of large queries would turn a rounding of theirs that goes the other way into another softmax. So are lists of blocks: equal to the
best ones but where the scores at the cut differ by less than a part in a hundred (inputs of the scores are rounded to 8 bits). Where
lists are not stored, queries with scores at the cut that differ by less than two in a thousand are left out; they may not be most of them.

Which formula: `attend` alone without a constant WINDOW, N or L and without arguments `k_*`. Else Native Sparse Attention with the branches
that the arguments and results name: `k_cmp`, `k_slc`, `k_win` (keys of their own) or results `oc`, `os`, `ow`. Where neither names
one, those that the constants speak of: WINDOW the window, N the selected blocks, and compressed keys if there is an entry in `gate` for a
branch more. Programs that differ in nothing of that, because only their sums do, are told apart by the user: `nsa.nsak:cs` has the branches
c(ompressed) and s(elected), of c, s and w. Arguments `w1_*` make compression a perceptron; otherwise it is a mean. A `gate` of 3
entries has one for each of the three branches, a smaller one for each that there is.

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
# Where lists are not known: how near the scores at the cut are that rounding may order either way.
UNSURE = 2e-3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

LENGTHS = [1, 2, 15, 31, 32, 33, 63, 64, 65, 127, 200, 333, 1000, 1024, 2047]
# Lengths of queries and of keys, and the size of queries.
SHAPES = [([n], [n], 1.0) for n in LENGTHS] + [
    ([0, 15, 205, 550, 800], [0, 15, 205, 550, 800], 1.0),
    ([2, 0, 7], [1500, 3, 64], 1.0),
    ([1], [4096], 1.0),
    ([333], [333], 60.0),
    ([2047], [2047], 60.0),
    ([700], [700], 0.0),
]
# Programs on the host: one sequence, queries as they are.
HOST_SHAPES = [([n], [n], 1.0) for n in LENGTHS] + [([7], [1500], 1.0), ([1], [4096], 1.0)]

# The branches, in the order of the gate: their letter, the suffix of their own keys, the name of their own result.
BRANCHES = {"c": ("cmp", "oc"), "s": ("slc", "os"), "w": ("win", "ow")}


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
            tensors[name] = torch.zeros(info["shape"], dtype=TYPES[info["dtype"]], device=DEVICE)
            continue
        raw = bytearray(data[8 + size + begin:8 + size + end])
        tensors[name] = torch.frombuffer(raw, dtype=TYPES[info["dtype"]]).reshape(info["shape"]).to(DEVICE)
    return tensors


def branches(constants, tensors, given):
    """The letters of the branches of a program with these constants, arguments and results; none for attention alone."""
    if given:
        return given
    named = "".join(
        letter
        for letter, (suffix, result) in BRANCHES.items()
        if f"input.k_{suffix}" in tensors or f"result.{result}" in tensors
    )
    if named:
        return named
    letters = ("s" if "N" in constants else "") + ("w" if "WINDOW" in constants else "")
    gate = tensors.get("input.gate")
    entries = len(letters) if gate is None else gate.shape[-1]
    return "c" + letters if entries > len(letters) else letters


def attend(q, k, v, visible):
    """q [t, g, r, d], k [s, g, d], v [s, g, e], visible [t, g, s] -> o, log-sum-exp, probabilities; rows that see nothing are 0."""
    scores = torch.einsum("tgrd,sgd->tgrs", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~visible[:, :, None, :], -torch.inf)
    lse = torch.logsumexp(scores, -1)
    p = torch.exp(scores - torch.where(lse.isinf(), torch.zeros_like(lse), lse)[..., None])
    return torch.einsum("tgrs,sge->tgre", p, v), lse, p


def ranks(mass, position, constants):
    """What blocks are chosen by: their mass, infinite for forced ones, -infinite for those that are no candidates."""
    block, first, local = (constants[name] for name in ("BLOCK", "FIRST", "LOCAL"))
    blocks = torch.arange(mass.shape[-1], device=DEVICE)
    own = position // block
    candidate = blocks[None, :] <= own[:, None]
    forced = ((blocks[None, :] < first) | (blocks[None, :] + local > own[:, None])) & candidate
    rank = torch.where(forced[:, None, :], torch.inf, mass)
    return torch.where(candidate[:, None, :], rank, -torch.inf)


def best_lists(rank, n):
    """The n best blocks of each row, ascending, -1 behind them, and whether the last of them is about as good as the best one left out."""
    order = torch.sort(rank, dim=-1, descending=True, stable=True)
    lists = torch.where(order.values > -torch.inf, order.indices, -1)[..., :n]
    lists = torch.nn.functional.pad(lists, (0, max(0, n - lists.shape[-1])), value=-1)
    lists = torch.where(lists < 0, 1 << 30, lists).sort(-1).values
    lists = torch.where(lists == 1 << 30, -1, lists)
    if rank.shape[-1] <= n:
        return lists, torch.zeros(rank.shape[:-1], dtype=torch.bool, device=rank.device)
    last, out = order.values[..., n - 1], order.values[..., n]
    # Equal ones are no close call: the lower index is taken.
    close = last.isfinite() & out.isfinite() & (last != out) & (last - out <= UNSURE * last.abs())
    return lists, close


def perceptron(constants, inputs, name, windows):
    """Keys or values of blocks, by `gelu((x + place) w1 + b1) w2 + b2` over the values of a block."""
    x = inputs[f"{name}_cmp"][windows] + inputs[f"place_{name}"][None, :, None, :]
    hidden = torch.einsum("ijgc,jcu->igu", x, inputs[f"w1_{name}"]) + inputs[f"b1_{name}"]
    hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
    return torch.einsum("igu,ud->igd", hidden, inputs[f"w2_{name}"]) + inputs[f"b2_{name}"]


def windows_of(constants, count):
    """How many values a compressed key has, and how many there are for so many keys."""
    length = constants.get("L", constants.get("j"))
    return length, max(0, (count - length) // constants["STRIDE"] + 1)


def compressed(constants, inputs):
    """Compressed keys and values of one sequence, rounded as kernels store them, which value of `s` each begins at, and how many it has; None
    if those that were stored are not right."""
    stride, (length, number) = constants["STRIDE"], windows_of(constants, len(inputs["k_cmp"]))
    windows = torch.arange(number, device=DEVICE)[:, None] * stride + torch.arange(length, device=DEVICE)[None, :]
    if "w1_k" in inputs:
        pair = (perceptron(constants, inputs, name, windows) for name in ("k", "v"))
    else:
        pair = (inputs[name][windows].mean(1) for name in ("k_cmp", "v_cmp"))
    pair = [x.to(constants["dtype"]).double() for x in pair]
    for at, name in enumerate(("stored.kc", "stored.vc")):
        if name in inputs:
            if not relative(inputs[name], pair[at]) <= TOLERANCE:
                return None
            pair[at] = inputs[name]
    return pair, torch.arange(number, device=DEVICE) * stride, length


def selection(constants, p, start, length, count, position, chosen):
    """Which blocks [t, g, b] each query's group selects, and queries whose choice is too close to call; None if `chosen` is not right."""
    block, n = constants["BLOCK"], constants["N"]
    blocks = -(-count // block)
    edge = torch.arange(blocks, device=DEVICE) * block
    overlap = torch.minimum(start[:, None] + length, edge[None, :] + block) - torch.maximum(start[:, None], edge[None, :])
    mass = torch.einsum("tgi,ib->tgb", p.sum(2), overlap.clamp(min=0).double() / constants["STRIDE"])
    best, close = best_lists(ranks(mass, position, constants), n)
    if chosen is None:
        chosen = best
    else:
        chosen, close = chosen.long(), torch.zeros_like(close)
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
    of_block = torch.zeros(*chosen.shape[:2], blocks + 1, dtype=torch.bool, device=DEVICE)
    of_block.scatter_(-1, torch.where(chosen >= 0, chosen, blocks), True)
    return of_block, close


def full(constants, letters, inputs, position, chosen):
    q, k, v = (inputs[name] for name in ("q", "k", "v"))
    visible = torch.arange(len(k), device=DEVICE)[None, :] <= position[:, None]
    o = attend(q, k, v, visible[:, None, :].expand(-1, k.shape[1], -1))[0]
    return {"o": o}, torch.zeros(o.shape[:2], dtype=torch.bool, device=DEVICE)


def sparse(constants, letters, inputs, position, chosen):
    """Each branch, and their gated sum, for queries at these positions, and queries (and groups) that are too close to call; or what is wrong."""
    q, gate = inputs["q"], inputs.get("gate")
    inputs = dict(inputs)
    for suffix, _ in BRANCHES.values():
        for name in ("k", "v"):
            if f"{name}_{suffix}" not in inputs and name in inputs:
                inputs[f"{name}_{suffix}"] = inputs[name]
    count = next(len(inputs[f"k_{BRANCHES[letter][0]}"]) for letter in letters)
    groups = q.shape[1]
    parts = {}
    close = torch.zeros(q.shape[:2], dtype=torch.bool, device=DEVICE)
    at = torch.arange(count, device=DEVICE)
    causal = (at[None, :] <= position[:, None])[:, None, :]
    if "c" in letters or "s" in letters:
        found = compressed(constants, inputs)
        if found is None:
            return "the compressed keys and values are not right"
        (kc, vc), start, length = found
        seen = start[None, :] + length - 1 <= position[:, None]
        parts["c"], _, p = attend(q, kc, vc, seen[:, None, :].expand(-1, groups, -1))
    if "s" in letters:
        selected = selection(constants, p, start, length, count, position, chosen)
        if selected is None:
            return "the lists are not the best ones"
        of_block, close = selected
        visible = of_block[..., at // constants["BLOCK"]] & causal
        parts["s"] = attend(q, inputs["k_slc"], inputs["v_slc"], visible)[0]
    if "w" in letters:
        near = causal & (at[None, None, :] + constants["WINDOW"] > position[:, None, None])
        parts["w"] = attend(q, inputs["k_win"], inputs["v_win"], near.expand(-1, groups, -1))[0]
    results = {BRANCHES[letter][1]: parts[letter] for letter in letters}
    results["o"] = torch.zeros_like(parts[letters[0]])
    for number, letter in enumerate(BRANCHES if gate is not None and gate.shape[-1] == 3 else letters):
        if letter in letters:
            results["o"] += parts[letter] if gate is None else gate[..., number, None] * parts[letter]
    return results, close


def relative(found, expected):
    if expected.numel() == 0:
        return 0.0
    norm = expected.norm()
    return ((found.double() - expected).norm() / norm).item() if norm > 0 else found.double().norm().item()


def compare(constants, tensors, t, s, given):
    """The largest error of the results of one shape, or what is wrong with them."""
    letters = branches(constants, tensors, given)
    formula = sparse if letters else full
    inputs = {name[6:]: tensor.double() for name, tensor in tensors.items() if name.startswith("input.")}
    constants["dtype"] = tensors["input.q"].dtype
    results = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("result.")}
    stored = {name: tensors[name].double() for name in ("stored.kc", "stored.vc") if name in tensors and letters}
    expected, close, first_t, first_s, first_i = {}, [], 0, 0, 0
    for own_t, own_s in zip(t, s):
        own = dict(inputs)
        for name in ("q", "gate"):
            if name in own:
                own[name] = own[name][first_t:first_t + own_t]
        for name in [name for name in own if name.split("_")[0] in ("k", "v")]:
            own[name] = own[name][first_s:first_s + own_s]
        number = windows_of(constants, own_s)[1] if stored else 0
        own.update({name: values[first_i:first_i + number] for name, values in stored.items()})
        first_i += number
        chosen = tensors.get("stored.chosen", results.get("chosen"))
        chosen = None if chosen is None else chosen[first_t:first_t + own_t]
        position = torch.arange(own_t, device=DEVICE) + own_s - own_t
        step = max(1, (1 << 26) // max(1, own_s * own["q"].shape[1] * own["q"].shape[2]))
        for at in range(0, own_t, step):
            rows = slice(at, at + step)
            part = {name: own[name][rows] for name in ("q", "gate") if name in own}
            found = formula(constants, letters, {**own, **part}, position[rows], None if chosen is None else chosen[rows])
            if isinstance(found, str):
                return None, found
            for name, value in found[0].items():
                expected.setdefault(name, []).append(value)
            close.append(found[1])
        first_t, first_s = first_t + own_t, first_s + own_s
    sure = ~torch.cat(close)
    if sure.numel() and 2 * int(sure.sum()) < sure.numel():
        return None, "most choices of blocks are too close to call"
    known = [name for name in expected if name in results]
    if not known:
        return None, f"no formula for the results {', '.join(results)}"
    return max(relative(results[name][sure], torch.cat(expected[name])[sure]) for name in known), None


def run_artifact(binary, path, t, s, scale, arguments, folder):
    """Constants and tensors of an artifact, run on the GPU by `nsa-run`."""
    file = f"{folder}/dump.safetensors"
    lengths = ["t=" + ",".join(map(str, t)), "s=" + ",".join(map(str, s))]
    options = ["--outputs", file, "--seed", str(arguments.seed), "--scale", str(scale)]
    run = subprocess.run([binary, "dump", path, *lengths, *options], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError((run.stdout + run.stderr).strip())
    return json.loads(run.stdout)["constants"], read(file)


def run_program(binary, path, t, s, scale, arguments, folder):
    """Constants and tensors of a program, run on the host by `nsa`; what its kernels stored besides is not known."""
    case, outputs = f"{folder}/case.safetensors", f"{folder}/outputs.safetensors"
    settings = [f"t={t[0]}", f"s={s[0]}", *arguments.set]
    options = ["--seed", str(arguments.seed), "--seconds", "0", "--reference", "none", "--json", "--case", case, "--outputs", outputs]
    run = subprocess.run([binary, "run", path, "--set", *settings, *options], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError((run.stdout + run.stderr).strip())
    tensors = {name: tensor for name, tensor in read(case).items() if name.startswith("input.")}
    tensors.update({f"result.{name}": tensor for name, tensor in read(outputs).items()})
    return json.loads(run.stdout)["constants"], tensors


def check(path, given, arguments):
    is_program = path.endswith(".nsa")
    execute = run_program if is_program else run_artifact
    worst, wrong = 0.0, []
    for t, s, scale in HOST_SHAPES if is_program else SHAPES:
        shape = f"t={t} s={s} x{scale}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                constants, tensors = execute(arguments.binary, path, t, s, scale, arguments, folder)
            except RuntimeError as reason:
                wrong.append(f"{shape}: {reason}")
                continue
        error, fault = compare({name: int(x) for name, x in constants.items()}, tensors, t, s, given)
        if fault:
            wrong.append(f"{shape}: {fault}")
            continue
        worst = max(worst, error)
        if not error <= TOLERANCE:
            wrong.append(f"{shape}: error {error:.2e}")
    return worst, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", help="nsa-run for artifacts, nsa for programs")
    parser.add_argument("artifacts", nargs="+", help="files of `nsa build`, or programs (.nsa); with :cs behind it, the branches")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="constants of programs")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 24))
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else "the host"
    print(f"formulas on {where}, seed {arguments.seed}")
    failed = 0
    for artifact in arguments.artifacts:
        path, _, given = artifact.partition(":")
        if any(letter not in BRANCHES for letter in given):
            parser.error(f"{artifact}: the branches are c, s and w")
        worst, wrong = check(path, "".join(letter for letter in BRANCHES if letter in given), arguments)
        label = pathlib.Path(path).stem + (f":{given}" if given else "")
        print(f"{label:40} largest error {worst:.2e}  {'ok' if not wrong else 'WRONG'}", flush=True)
        for line in wrong:
            print("    " + line)
        failed += len(wrong)
    print(f"{failed} wrong")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
