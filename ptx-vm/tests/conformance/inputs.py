#!/usr/bin/env python3
"""Writes queries and keys with scores of large magnitude, or with equal scores, for `nsa run --inputs`.

Usage: inputs.py large|ties TOKENS GROUPS HEADS WIDTH FILE.safetensors
"""
import json
import random
import struct
import sys

kind, (t, g, r, d), path = sys.argv[1], map(int, sys.argv[2:6]), sys.argv[6]
draw = random.Random(kind)


def bf16(values):
    return b"".join(struct.pack("<f", x)[2:] for x in values)


# Scores are sums of d products over the root of d: entries of +-100 make them about 1e4.
def entry():
    return draw.choice([-100.0, 100.0]) if kind == "large" else 1.0


tensors = {"q": ([t, g, r, d], [entry() for _ in range(t * g * r * d)]), "k": ([t, g, d], [entry() for _ in range(t * g * d)])}
header, data = {}, b""
for name, (shape, values) in tensors.items():
    content = bf16(values)
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
    data += content
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
