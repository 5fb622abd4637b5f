#!/usr/bin/env bash
# Everything about TensorRT that needs a GPU, in one go; docs/guide/gpu.md says how to use it.
#   gpu.sh models FOLDER SOURCE [NAME ...]    where torch and onnx are: write the models
#   gpu.sh run FOLDER SOURCE OUT [NAME ...]   where the GPU is: tests, plans, speed, JSON into OUT
#   gpu.sh kit                                print what to add to a Python that is carried there
# SOURCE: a video or sequence of at least FRAMES frames (default 500) and 20 to warm up.
# NAME: a network such as nano-576x320, or one model of it such as darknet53-576x320.fp16 (.int8-cache:
#   TensorRT 8's own INT8), in this order; default: all, small ones first.
# TRT_PYTHON: the Python with TensorRT and a CUDA library, a program and no function of the shell
#   (default: .venv/bin/python). TORCH_PYTHON: the one with torch for CUDA, for the baseline
#   (default: the same; none: ""). Paths count from the root of the repository.
# PLANS: where plans go (default: OUT/plans); they are large.
# ONLY: a pattern; steps with other names are left out, for example '^(build|report)-'.
# SEQUENCE: a MOT sequence; what the plans of nano-864x480 see in it is kept (default: none).
# BUILD: more options of jdetrt build, such as "--optimization-level 2" (default: none).
# JOBS: builds at a time (default 1; more disturb each other's timing of kernels).
# SECONDS_LEFT: all ends after so many (default 86400). STEP_SECONDS: the most for one step (3600).
# Run again with the same OUT it goes on: what OUT/steps.txt has as done is not done again, nor a
# plan built that is newer than its model and was built by the same TensorRT with the same options.
set -uo pipefail
cd "$(dirname "$0")/.."
trt=${TRT_PYTHON:-.venv/bin/python}
torch=${TORCH_PYTHON-$trt}
frames=${FRAMES:-500}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

case ${1:-} in
models)
    shift
    exec "$trt" scripts/gpu_models.py "$@"
    ;;
kit)
    # Wheels for CPython 3.10 beside TensorRT, pycuda and the base: graphs, kernels without nvcc,
    # ONNX Runtime to compare with, power, and what the tests need. Bindings and NVRTC fit CUDA 12.
    echo "onnx==1.17.0 protobuf==5.29.5 onnxruntime==1.23.2 flatbuffers cuda-bindings==12.9.4" \
        "cuda-pathfinder nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-ml-py pytest iniconfig pluggy" \
        "exceptiongroup packaging hypothesis attrs sortedcontainers"
    exit
    ;;
run) ;;
*)
    sed -n '2,21s/^# \{0,1\}//p' scripts/gpu.sh >&2
    exit 2
    ;;
esac

[ $# -ge 4 ] || { echo "gpu.sh run FOLDER SOURCE OUT [NAME ...]" >&2; exit 2; }
models=$2 source=$3 out=$4
plans=${PLANS:-$out/plans}
shift 4

# The models that a name stands for: its own, or those of the network by precision. TensorRT 8 does
# not build nano in INT8, but has an INT8 of its own.
named() {
    local known='' own=''
    case $version in 8.*) known='/^nano-.*\.int8$/d' own=$1.int8-cache ;; esac
    (cd "$models" && ls "$1".onnx "$1".*.onnx "$1" $own 2>/dev/null | sed "s/\.onnx$//; $known")
}

version=$(timeout 60 "$trt" -c 'import tensorrt; print(tensorrt.__version__)') ||
    { echo "$trt cannot import tensorrt" >&2; exit 1; }
if [ $# = 0 ]; then
    set -- $(ls -rS "$models" | sed -n 's/\.fp32\.onnx$//p')
fi
for name in "$@"; do
    [ -n "$(named "$name")" ] || { echo "$models has no model $name for TensorRT $version" >&2; exit 1; }
done
mkdir -p "$out" "$plans"
# NVRTC that came as a wheel is not found beside a Python that knows its packages by PYTHONPATH.
nvrtc=$("$trt" -c 'import glob, sys
print(*[d for p in sys.path for d in glob.glob(p + "/nvidia/cuda_nvrtc/lib")][:1])')
[ -z "$nvrtc" ] || export LD_LIBRARY_PATH="$nvrtc${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
touch "$out/steps.txt"
# Whatever ends a shell ends what it has begun.
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap 'exit 130' INT TERM

note() { echo "$@" | tee -a "$out/steps.txt"; }
# The last word on each step counts.
finished() { [ "$(awk -v name="$1" '$2 == name { code = $1 } END { print code }' "$out/steps.txt")" = 0 ]; }

# A step that fails is noted and does not stop the others: GPU time is dear.
step() {
    local name=$1 code=0 begin=$SECONDS left=$((${SECONDS_LEFT:-86400} - SECONDS))
    local limit=${STEP_SECONDS:-3600}
    shift
    [[ $name =~ ${ONLY:-} ]] || return 1
    ! finished "$name" || return 0
    if [ "$left" -le 0 ]; then
        note "not-begun $name"
        return 1
    fi
    timeout -k 5 "$((left < limit ? left : limit))" "$@" >"$out/$name.log" 2>&1 &
    wait $! || code=$?
    note "$code $name $((SECONDS - begin))s"
    [ "$code" = 0 ] || tail -5 "$out/$name.log"
    return "$code"
}

# Beside the others, at most JOBS at a time.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-1}" ]; do wait -n; done
    (
        trap 'kill $(jobs -p) 2>/dev/null' EXIT
        trap 'exit 143' INT TERM
        "$@"
    ) &
}

build() {
    local plan=$plans/$1.plan model=$models/${1%.rtx}.onnx options=(${BUILD:-}) ranges=''
    case $1 in
    *.int8-cache) # ranges for the float32 model
        model=$models/${1%.int8-cache}.fp32.onnx ranges=$models/$1
        options+=(--precision int8 --calibration-cache "$ranges")
        ;;
    *.rtx) options+=(--backend tensorrt-rtx) ;;
    esac
    local how="$version ${options[*]}"
    if [ "$plan" -nt "$model" ] && [ ! "$ranges" -nt "$plan" ] &&
        [ "$(cat "$plan.how" 2>/dev/null)" = "$how" ]; then
        return
    fi
    [[ build-$1 =~ ${ONLY:-} ]] || return
    rm -f "$plan" "$plan.json" "$plan.how"
    local kind
    for kind in build inspect verify report latency seen; do # were of another plan
        ! finished "$kind-$1" || note "again $kind-$1"
    done
    step "build-$1" "$trt" -m jdetrt build "$model" -o "$plan" -q "${options[@]}" &&
        cp "$plan.json" "$out/$1.plan.json" && echo "$how" >"$plan.how"
}

look() {
    local plan=$plans/$1.plan network=${1%.*} against limits=()
    # The very model where it is quantised: what INT8 does to it is known without a GPU. That of
    # TensorRT 8's own INT8 is not, so it is told and not judged.
    case $1 in *.int8) against=$1 ;; *) against=$network.fp32 ;; esac
    case $1 in *.int8-cache)
        limits=(--min-iou 0 --max-score 1 --min-cosine 0 --min-cosine-p5 0 --max-unmatched 1) ;;
    esac
    step "inspect-$1" "$trt" -m jdetrt inspect "$plan" --json
    step "verify-$1" "$trt" -m jdetrt verify "$plan" --against "$models/$against.onnx" \
        --provider cpu --source "$source" --max-frames 8 --score-threshold 0 --json "$out/$1.verify.json" \
        "${limits[@]}"
}

step doctor "$trt" -m jdetrt doctor
# Not beside builds: tests that fill the GPU's memory, or count it.
pytest() {
    step "$1" "$trt" -m pytest tests/gpu -q -m gpu -p no:cacheprovider -k "$2" \
        --junitxml="$out/$1.xml" || return
    tail -1 "$out/$1.log"
    grep -q ' passed' "$out/$1.log" || note "1 $1 none-ran"
}
beside pytest tests "not memory"
[ "${JOBS:-1}" -gt 1 ] || wait
compared=" " # networks that torch has run
for name in "$@"; do
    built=$(named "$name")
    for model in $built; do
        beside build "$model"
    done
    wait
    for model in $built; do
        [ ! -f "$plans/$model.plan" ] || beside look "$model"
    done
    wait
    for model in $built; do
        [ -f "$plans/$model.plan" ] || continue
        step "report-$model" "$trt" scripts/gpu_report.py plan "$plans/$model.plan" "$source" \
            "$out/$model.report.json" "$frames"
    done
    network=${built%%.*}
    if [ -n "$torch" ] && [ -f "$models/$network.safetensors" ] &&
        [ "${compared#* "$network "}" = "$compared" ]; then
        compared="$compared$network "
        step "torch-$network" "$torch" scripts/gpu_report.py torch "$models/$network.safetensors" \
            "${network##*-}" "$source" "$out/$network.torch.json" "$frames"
    fi
    for model in $built; do
        plan=$plans/$model.plan
        [ -f "$plan" ] || continue
        step "latency-$model" "$trt" -m jdetrt bench latency "$source" --model "$plan" \
            --max-frames "$frames" --repeats 3 --cuda-graph --json "$out/$model.latency.json"
        if [ -n "${SEQUENCE:-}" ] && [ "$network" = nano-864x480 ]; then
            step "seen-$model" "$trt" scripts/gpu_report.py seen "$plan" "$SEQUENCE" \
                "$out/$model"
        fi
    done
done
pytest tests-memory memory
# TensorRT-RTX, where it is installed: does a plan of it run here, and what does it say?
if "$trt" -c 'import tensorrt_rtx' 2>/dev/null; then
    for model in $(for name in "$@"; do named "$name"; done | sed -n '/cache$/d; /^nano-/p'); do
        build "$model.rtx"
        [ ! -f "$plans/$model.rtx.plan" ] || step "report-$model.rtx" "$trt" scripts/gpu_report.py \
            plan "$plans/$model.rtx.plan" "$source" "$out/$model.rtx.report.json" "$frames"
    done
fi
# Last, as it builds the plans of nano again, into the cache folder and without BUILD: sizes and
# precisions in one table.
sizes='' precisions='' sweep=()
for model in $(for name in "$@"; do named "$name"; done | sed -n '/cache$/d; /^nano-/p' | sort -u); do
    size=${model#nano-} precision=${model##*.}
    size=${size%%.*}
    case ",$sizes," in *",$size,"*) ;; *) sizes=${sizes:+$sizes,}$size ;; esac
    case ",$precisions," in *",$precision,"*) ;; *) precisions=${precisions:+$precisions,}$precision ;; esac
    sweep+=(--model "$models/$model.onnx")
done
if [ -n "$sizes" ]; then
    what=${sizes//,/-}-${precisions//,/-}
    step "sweep-nano-$what" "$trt" -m jdetrt bench sweep "${sweep[@]}" --source "$source" \
        --sizes "$sizes" --precisions "$precisions" --backends tensorrt --cuda-graph \
        --max-frames "$frames" --repeats 3 --cool-down 1 -o "$out/sweep-nano-$what.json"
fi
echo "Failed steps:"
awk '{ last[$2] = $0 } END {
    for (name in last) if (last[name] !~ /^(0|again) /) { print last[name]; bad = 1 }
    if (!bad) print "none"
    exit bad
}' "$out/steps.txt"
