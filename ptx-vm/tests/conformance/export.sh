#!/usr/bin/env bash
# Runs the example programs in the interpreter over a list of shapes and writes each down for replay.py.
# Usage: export.sh NSA FOLDER; NSA is the path of the `nsa` command.
set -euo pipefail
nsa="$(realpath "$1")"
mkdir -p "$2"
out="$(realpath "$2")"
cd "$(dirname "$0")/../../.."

case_() { # name, target, program, arguments
    local name="$1" target="$2" program="$3"
    shift 3
    if [ -e "$out/$name.$target/run.json" ]; then return; fi
    if ! "$nsa" run "examples/$program.nsa" --device "vm:$target" --tolerance 1e-2 --record "$out/$name.$target" "$@" >"$out/log.txt" 2>&1; then
        printf '%s.%s: ' "$name" "$target"
        tail -n 1 "$out/log.txt"
    fi
}

for target in sm_80 sm_90a; do
    nsa_sizes=(L=16 STRIDE=8 BLOCK=32 N=4 WINDOW=40)
    for t in 1 2 33 65 127 200; do
        case_ "full_$t" $target full_attention --set t=$t s=$t g=1 r=4 d=64 e=64
        case_ "window_$t" $target window --set t=$t s=$t g=1 r=4 d=64 e=64 WINDOW=40
        case_ "nsa_$t" $target nsa --set t=$t s=$t g=1 r=4 d=64 e=64 "${nsa_sizes[@]}"
    done
    for widths in "96 96" "128 128" "192 128" "128 64" "256 256"; do
        read -r d e <<<"$widths"
        case_ "full_${d}_$e" $target full_attention --set t=40 s=40 g=1 r=3 d=$d e=$e
        case_ "nsa_${d}_$e" $target nsa --set t=40 s=40 g=1 r=3 d=$d e=$e "${nsa_sizes[@]}"
    done
    for r in 1 5 16 32; do
        case_ "nsa_group_$r" $target nsa --set t=40 s=40 g=1 r=$r d=64 e=64 "${nsa_sizes[@]}"
    done
    case_ "nsa_f16" $target nsa --element f16 --set t=40 s=40 g=2 r=4 d=64 e=64 "${nsa_sizes[@]}"
    case_ "full_f32" $target full_attention --element f32 --set t=40 s=40 g=1 r=2 d=64 e=64
    case_ "full_packed" $target full_attention --lengths 0,15,41 --set g=1 r=4 d=64 e=64
    case_ "nsa_packed" $target nsa --lengths 0,15,41 --set g=1 r=4 d=64 e=64 "${nsa_sizes[@]}"
    case_ "mlp" $target nsa_mlp --set t=40 s=40 g=1 r=4 d=64 e=64 j=16 u=64 STRIDE=8 BLOCK=32 N=4 WINDOW=40
done
rm -f "$out/log.txt"
du -sh "$out"
