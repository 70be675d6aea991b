#!/usr/bin/env python3
"""Expands nsa_kernel! in rust-analyzer's macro server: expand.py SERVER MACROS.so

Editors load the macro into that process, which is not rustc. It speaks one JSON object a line.
"""
import json
import os
import re
import subprocess
import sys

PROGRAM = "kernel doubled(x: f32[t]) -> y: f32[t] { x + x }"


def flat_tree(text):
    """The tokens of a text without literals, in the server's form: trees in the order of their depth, tokens by index."""
    tokens = re.findall(r"[A-Za-z_]\w*|[^\s\w]", text)
    root = []
    stack = [root]
    kinds = {"(": 1, "{": 2, "[": 3}
    for token in tokens:
        if token in kinds:
            inner = []
            stack[-1].append((kinds[token], inner))
            stack.append(inner)
        elif token in ")}]":
            stack.pop()
        else:
            stack[-1].append(token)
    tree = {"subtree": [], "literal": [], "punct": [], "ident": [], "token_tree": [], "text": []}
    queue = [(0, root)]
    for kind, content in queue:
        first = len(tree["token_tree"])
        for at, token in enumerate(content):
            if isinstance(token, tuple):
                index, tag = len(queue), 0
                queue.append(token)
            elif re.match(r"\w", token):
                index, tag = len(tree["ident"]) // 3, 3
                tree["ident"] += [0, len(tree["text"]), 0]
                tree["text"].append(token)
            else:
                index, tag = len(tree["punct"]) // 3, 2
                joint = token == "-" and content[at + 1 : at + 2] == [">"]
                tree["punct"] += [0, ord(token), int(joint)]
            tree["token_tree"].append(index << 2 | tag)
        tree["subtree"] += [0, 0, kind, first, len(tree["token_tree"])]
    return tree


def main():
    server, library = sys.argv[1:]
    environment = dict(os.environ, RUST_ANALYZER_INTERNALS_DO_NOT_USE="this is unstable")
    process = subprocess.Popen(
        [server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def ask(request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            sys.exit(f"error: {server} gives no answer to {request}")
        return json.loads(answer)

    version = ask({"ApiVersionCheck": {}})["ApiVersionCheck"]
    macros = ask({"ListMacros": {"dylib_path": library}})["ListMacros"]
    if ["nsa_kernel", "FuncLike"] not in macros.get("Ok", []):
        sys.exit(f"error: the macro server cannot load {library}: {macros}")
    body = {
        "lib": library,
        "env": [["CARGO_MANIFEST_DIR", os.getcwd()], ["CARGO_PKG_NAME", "editor"]],
        "current_dir": os.getcwd(),
        "macro_body": flat_tree(PROGRAM),
        "macro_name": "nsa_kernel",
        "attributes": None,
    }
    spans = {"has_global_spans": {"def_site": 0, "call_site": 0, "mixed_site": 0}}
    expanded = ask({"ExpandMacro": {**body, **spans}})["ExpandMacro"]
    words = set(expanded.get("Ok", {}).get("text", []))
    missing = {"doubled", "Shape", "Args", "Kernel", "Plan", "PROGRAM", "global_asm"} - words
    if missing:
        sys.exit(f"error: the expansion lacks {sorted(missing)}: {str(expanded)[:2000]}")
    process.stdin.close()
    if process.wait(10) != 0:
        sys.exit(f"error: the macro server ends with {process.returncode}")
    print(f"expanded by rust-analyzer's macro server (protocol {version}): {len(words)} different words")


main()
