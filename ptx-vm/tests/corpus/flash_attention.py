"""Prints Triton's flash attention as PTX, one file a variant, without a GPU.

Usage: python flash_attention.py OUTPUT_FOLDER
Each file is named sm80_f16_causal_64x32x64_w4_s3.ptx: target, element type, mask, block of queries and keys and head
width, warps, pipeline stages. Its first line says how much dynamic shared memory the kernel wants.
"""
import pathlib
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def attention(Q, K, V, O, L, scale, N, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    block = tl.program_id(0)
    head = tl.program_id(1) * N * D
    rows = block * BM + tl.arange(0, BM)
    width = tl.arange(0, D)
    keys = tl.arange(0, BN)
    q = tl.load(Q + head + rows[:, None] * D + width[None, :], mask=rows[:, None] < N, other=0.0)
    top = tl.full([BM], float("-inf"), tl.float32)
    mass = tl.zeros([BM], tl.float32)
    out = tl.zeros([BM, D], tl.float32)
    end = tl.minimum(N, (block + 1) * BM) if CAUSAL else N
    for start in range(0, end, BN):
        here = start + keys
        k = tl.load(K + head + here[None, :] * D + width[:, None], mask=here[None, :] < N, other=0.0)
        v = tl.load(V + head + here[:, None] * D + width[None, :], mask=here[:, None] < N, other=0.0)
        score = tl.dot(q, k) * scale
        seen = here[None, :] < N
        if CAUSAL:
            seen = seen & (rows[:, None] >= here[None, :])
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        p = tl.exp2(score - higher[:, None])
        fade = tl.exp2(top - higher)
        mass = mass * fade + tl.sum(p, 1)
        out = tl.dot(p.to(v.dtype), v, out * fade[:, None])
        top = higher
    out = out / mass[:, None]
    tl.store(O + head + rows[:, None] * D + width[None, :], out.to(O.dtype.element_ty), mask=rows[:, None] < N)
    tl.store(L + tl.program_id(1) * N + rows, top + tl.log2(mass), mask=rows < N)


def emit(arch, element, causal, bm, bn, d, warps, stages):
    name = {"f16": "fp16", "bf16": "bf16"}[element]
    pointers = {p: f"*{name}" for p in "QKVO"} | {"L": "*fp32"}
    signature = pointers | {"scale": "fp32", "N": "i32"} | dict.fromkeys(["CAUSAL", "BM", "BN", "D"], "constexpr")
    constants = {"CAUSAL": causal, "BM": bm, "BN": bn, "D": d}
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(5)}
    source = ASTSource(attention, signature, constants, aligned)
    options = {"num_warps": warps, "num_stages": stages}
    kernel = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    return f"// shared {kernel.metadata.shared}\n" + kernel.asm["ptx"]


folder = pathlib.Path(sys.argv[1])
for arch in (80, 90):
    for element in ("f16", "bf16"):
        for causal in (False, True):
            for shape in ((64, 32, 64, 4, 3), (128, 64, 128, 8, 2)):
                bm, bn, d, warps, stages = shape
                mask = "causal" if causal else "full"
                path = folder / f"sm{arch}_{element}_{mask}_{bm}x{bn}x{d}_w{warps}_s{stages}.ptx"
                path.write_text(emit(arch, element, causal, *shape))
