#!/usr/bin/env bash
# Everything about TensorRT that needs a GPU, in one go; docs/guide/gpu.md says how to use it.
#   gpu.sh models FOLDER SOURCE [NAME ...]    where torch and onnx are: write the models
#   gpu.sh run FOLDER SOURCE OUT [NAME ...]   where the GPU is: tests, plans, speed, JSON into OUT
#   gpu.sh kit                                print what to add to a Python that is carried there
# SOURCE: a video or sequence of at least FRAMES frames (default 500).
# NAME: networks such as nano-576x320 or darknet53-576x320.fp16, in this order; default: all.
# TRT_PYTHON: the Python with TensorRT and a CUDA library (default: .venv/bin/python).
# TORCH_PYTHON: the Python with torch for CUDA, for the baseline (default: the same; none: "").
# SEQUENCE: a MOT sequence; what the plans of nano-864x480 see in it is kept (default: none).
# BUILD: more options of jdetrt build, such as "--optimization-level 2" (default: none).
# JOBS: builds at a time (default 1; more disturb each other's timing of kernels).
# SECONDS_LEFT: no step begins after so many (default 86400). STEP_SECONDS: the most for one (3600).
# A plan in OUT that is newer than its model is kept.
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
    sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

[ $# -ge 4 ] || { echo "gpu.sh run FOLDER SOURCE OUT [NAME ...]" >&2; exit 2; }
models=$2 source=$3 out=$4
shift 4
for name in "$@"; do
    compgen -G "$models/$name*.onnx" >/dev/null ||
        { echo "$models has no model $name" >&2; exit 1; }
done
if [ $# = 0 ]; then
    set -- $(ls "$models" | sed -n 's/\.[a-z0-9]*\.onnx$//p' | sort -u)
fi
mkdir -p "$out/plans"
version=$("$trt" -c 'import tensorrt; print(tensorrt.__version__)' 2>/dev/null)
# NVRTC that came as a wheel is not found beside a Python that knows its packages by PYTHONPATH.
nvrtc=$("$trt" -c 'import glob, sys
print(*[d for p in sys.path for d in glob.glob(p + "/nvidia/cuda_nvrtc/lib")][:1])')
[ -z "$nvrtc" ] || export LD_LIBRARY_PATH="$nvrtc${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
: >"$out/steps.txt"
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap 'exit 130' INT TERM

# A step that fails is noted and does not stop the others: GPU time is dear.
step() {
    local name=$1 code=0 begin=$SECONDS
    shift
    if [ "$SECONDS" -ge "${SECONDS_LEFT:-86400}" ]; then
        echo "not-begun $name" | tee -a "$out/steps.txt"
        return 1
    fi
    timeout -k 5 "${STEP_SECONDS:-3600}" "$@" >"$out/$name.log" 2>&1 || code=$?
    echo "$code $name $((SECONDS - begin))s" | tee -a "$out/steps.txt"
    [ "$code" = 0 ] || tail -5 "$out/$name.log"
    return "$code"
}

# At most JOBS of those that run beside each other.
room() {
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-1}" ]; do wait -n; done
}

build() {
    local plan=$out/plans/$1.plan
    local model=$models/$1.onnx options=(${BUILD:-})
    # TensorRT 8 cannot build all INT8 models: beside them the old way, ranges for the float32 model.
    if [ "${1%.int8-cache}" != "$1" ]; then
        model=${model%.int8-cache.onnx}.fp32.onnx
        options+=(--precision int8 --calibration-cache "$models/$1")
    fi
    if [ "$plan" -nt "$model" ]; then
        echo "0 build-$1 kept" | tee -a "$out/steps.txt"
    else
        step "build-$1" "$trt" -m jdetrt build "$model" -o "$plan" -q "${options[@]}" &&
            cp "$plan.json" "$out/$1.plan.json"
    fi
}

look() {
    local plan=$out/plans/$1.plan
    step "inspect-$1" "$trt" -m jdetrt inspect "$plan" --json
    step "verify-$1" "$trt" -m jdetrt verify "$plan" --against "$models/${1%.*}.fp32.onnx" \
        --provider cpu --frames "$source" --limit 8 --score-threshold 0 --json "$out/$1.verify.json"
}

step doctor "$trt" -m jdetrt doctor
# Not beside builds: tests that fill the GPU's memory, or count it.
pytest() {
    step "$1" "$trt" -m pytest tests/gpu -q -m gpu -p no:cacheprovider -k "$2" \
        --junitxml="$out/$1.xml"
}
pytest tests "not memory" &
[ "${JOBS:-1}" -gt 1 ] || wait
compared=" " # networks that torch has run
for name in "$@"; do
    built=$(cd "$models" && ls "$name".onnx "$name".*.onnx 2>/dev/null | sed 's/\.onnx$//')
    case $version in 8.*) built="$built $(cd "$models" && ls "$name".int8-cache 2>/dev/null)" ;; esac
    for model in $built; do
        room
        build "$model" &
    done
    wait
    for model in $built; do
        [ ! -f "$out/plans/$model.plan" ] || { room; look "$model" & }
    done
    wait
    for model in $built; do
        [ -f "$out/plans/$model.plan" ] || continue
        step "report-$model" "$trt" scripts/gpu_report.py plan "$out/plans/$model.plan" "$source" \
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
        plan=$out/plans/$model.plan
        if [ -f "$plan" ]; then
            step "latency-$model" "$trt" -m jdetrt bench latency "$source" --model "$plan" \
                --frames "$frames" --repeats 1 --cuda-graph --json "$out/$model.latency.json"
        fi
        if [ -f "$plan" ] && [ -n "${SEQUENCE:-}" ] && [ "$network" = nano-864x480 ]; then
            step "seen-$model" "$trt" scripts/gpu_report.py seen "$plan" "$SEQUENCE" \
                "$out/$model"
        fi
    done
done
# nano by size and precision; what was built above is built again, fast, as its timings are kept.
sizes='' sweep=()
for name in "$@"; do
    case $name in nano-*)
        size=${name#nano-}
        sizes="$sizes,${size%%.*}"
        for model in "$models/$name"*.onnx; do sweep+=(--model "$model"); done ;;
    esac
done
if [ -n "$sizes" ]; then
    step sweep-nano "$trt" -m jdetrt bench sweep "${sweep[@]}" --source "$source" \
        --sizes "${sizes#,}" --precisions fp32,fp16,int8 --backends tensorrt --cuda-graph \
        --frames "$frames" --repeats 3 --cool-down 1 -o "$out/sweep-nano.json"
fi
pytest tests-memory memory
# TensorRT-RTX, where it is installed: does a plan of it run here, and what does it say?
if "$trt" -c 'import tensorrt_rtx' 2>/dev/null; then
    for model in "$models"/nano-*.onnx; do
        name=$(basename "$model" .onnx)
        plan=$out/plans/$name.rtx.plan
        step "rtx-build-$name" "$trt" -m jdetrt build "$model" -o "$plan" --backend tensorrt-rtx &&
            step "rtx-report-$name" "$trt" scripts/gpu_report.py plan "$plan" "$source" \
                "$out/$name.rtx.report.json" "$frames"
    done
fi
echo "Failed steps:"
grep -v '^0 ' "$out/steps.txt" || echo "none"
