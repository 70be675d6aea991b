#!/usr/bin/env bash
# Runs the example programs in the interpreter over the list of shapes and writes each run down for replay.py.
# Usage: export.sh NSA FOLDER [TARGET...]; NSA is the path of the `nsa` command, targets are sm_90a and sm_80 unless given.
# Whether the results are right is for the tests: nothing is compared here.
set -euo pipefail
nsa="$(realpath "$1")"
mkdir -p "$2"
out="$(realpath "$2")"
shift 2
targets=("$@")
[ $# -gt 0 ] || targets=(sm_90a sm_80)
cd "$(dirname "$0")/../../.."

case_() { # name, target, program, arguments
    local name="$1" target="$2" program="$3"
    shift 3
    if [ -e "$out/$name.$target/run.json" ]; then return; fi
    if ! "$nsa" run "examples/$program.nsa" --device "vm:$target" --reference none --record "$out/$name.$target" "$@" >"$out/log.txt" 2>&1; then
        printf '%s.%s: ' "$name" "$target"
        tail -n 1 "$out/log.txt"
        rm -rf "${out:?}/$name.$target"
    fi
}

nsa_sizes=(L=16 STRIDE=8 BLOCK=32 N=4 WINDOW=40)
mlp_sizes=(j=16 u=64 STRIDE=8 BLOCK=32 N=4 WINDOW=40)
for kind in large ties; do
    python3 ptx-vm/tests/conformance/inputs.py "$kind" 65 1 4 64 "$out/$kind.safetensors"
done
for target in "${targets[@]}"; do
    # Lengths.
    for t in 1 2 15 31 32 33 63 64 65 127 200 333 1000 1024 2047; do
        case_ "full_$t" $target full_attention --set t=$t s=$t g=1 r=2 d=64 e=64
        case_ "window_$t" $target window --set t=$t s=$t g=1 r=2 d=64 e=64 WINDOW=40
        case_ "nsa_$t" $target nsa --set t=$t s=$t g=1 r=2 d=64 e=64 "${nsa_sizes[@]}"
    done
    # Packed batches; more keys than queries; a sequence without keys.
    for program in full_attention window; do
        case_ "${program}_packed" $target $program --lengths 0,15,205,550,800 --set g=1 r=2 d=64 e=64
    done
    case_ nsa_packed $target nsa --lengths 0,15,205,550,800 --set g=1 r=2 d=64 e=64 "${nsa_sizes[@]}"
    case_ mlp_packed $target nsa_mlp --lengths 0,15,205 --set g=1 r=2 d=64 e=64 "${mlp_sizes[@]}"
    case_ nsa_cached $target nsa --set t=3 s=500 g=1 r=4 d=64 e=64 "${nsa_sizes[@]}"
    case_ decode $target decode --set s=1000 g=1 r=4 d=64 e=64
    case_ cross_without_keys $target cross_attention --set t=40 s=0 g=1 r=2 d=64 e=64
    # Widths.
    for widths in "64 64" "96 96" "128 128" "192 128" "128 64" "256 256"; do
        read -r d e <<<"$widths"
        case_ "full_${d}_$e" $target full_attention --set t=40 s=40 g=1 r=3 d=$d e=$e
        case_ "nsa_${d}_$e" $target nsa --set t=40 s=40 g=1 r=3 d=$d e=$e "${nsa_sizes[@]}"
        case_ "mlp_${d}_$e" $target nsa_mlp --set t=40 s=40 g=1 r=3 d=$d e=$e "${mlp_sizes[@]}"
    done
    # Groups of query heads.
    for r in 1 2 3 4 5 8 16 32; do
        case_ "nsa_group_$r" $target nsa --set t=40 s=40 g=1 r=$r d=64 e=64 "${nsa_sizes[@]}"
        case_ "full_group_$r" $target full_attention --set t=40 s=40 g=1 r=$r d=64 e=64
    done
    # Types.
    for element in f16 f32; do
        case_ "full_$element" $target full_attention --element $element --set t=40 s=40 g=1 r=2 d=64 e=64
        case_ "nsa_$element" $target nsa --element $element --set t=40 s=40 g=2 r=4 d=64 e=64 "${nsa_sizes[@]}"
        case_ "mlp_$element" $target nsa_mlp --element $element --set t=40 s=40 g=1 r=4 d=64 e=64 "${mlp_sizes[@]}"
    done
    # Large magnitudes and ties.
    for kind in large ties; do
        case_ "full_$kind" $target full_attention --inputs "$out/$kind.safetensors" --set t=65 s=65 g=1 r=4 d=64 e=64
        case_ "nsa_$kind" $target nsa --inputs "$out/$kind.safetensors" --set t=65 s=65 g=1 r=4 d=64 e=64 "${nsa_sizes[@]}"
    done
    # The relatives.
    for program in a_shape alibi bigbird block_sparse cross_attention differential documents h2o infllm_v2 learned_bias moba prefix_mask quest softcap \
        tree vertical_slash window_with_sinks; do
        case_ "$program" $target $program --set t=130 s=130 g=2 r=2 d=64 e=64
    done
    case_ mla $target mla --set t=130 s=130 r=2 c=64 p=16
done
rm -f "$out/log.txt" "$out/large.safetensors" "$out/ties.safetensors"
du -sh "$out"
