#!/usr/bin/env bash
# Everything about TensorRT that needs a GPU, in one go; docs/guide/gpu.md says how to use it.
#   gpu.sh models FOLDER SOURCE [NAME ...]   where torch and onnx are: write the models
#   gpu.sh run FOLDER SOURCE OUT             where the GPU is: tests, plans, speed, JSON into OUT
#   gpu.sh kit                               print what to add to a Python that is carried there
# TRT_PYTHON: the Python with TensorRT and a CUDA library (default: .venv/bin/python).
# TORCH_PYTHON: the Python with torch for CUDA, for the baseline (default: the same; none: "").
# SOURCE: a video or sequence of at least FRAMES frames (default 500).
set -uo pipefail
cd "$(dirname "$0")/.."
trt=${TRT_PYTHON:-.venv/bin/python}
torch=${TORCH_PYTHON-$trt}
frames=${FRAMES:-500}

case ${1:-} in
models)
    shift
    exec "$trt" scripts/gpu_models.py "$@"
    ;;
kit)
    # Wheels for CPython 3.10 beside TensorRT, pycuda and the base: graphs, kernels without nvcc,
    # ONNX Runtime to compare with, and what the tests need. NVRTC and bindings fit CUDA 12.
    echo "onnx==1.17.0 protobuf==5.29.5 onnxruntime==1.23.2 flatbuffers cuda-bindings==12.9.4" \
        "cuda-pathfinder nvidia-cuda-nvrtc-cu12==12.9.86 pytest iniconfig pluggy exceptiongroup" \
        "packaging hypothesis attrs sortedcontainers"
    exit
    ;;
run) ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

[ $# = 4 ] || { echo "gpu.sh run FOLDER SOURCE OUT" >&2; exit 2; }
models=$2 source=$3 out=$4
mkdir -p "$out"
# NVRTC that came as a wheel is not found beside a Python that knows its packages by PYTHONPATH.
nvrtc=$("$trt" -c 'import glob, sys
print(*[d for p in sys.path for d in glob.glob(p + "/nvidia/cuda_nvrtc/lib")][:1])')
[ -z "$nvrtc" ] || export LD_LIBRARY_PATH="$nvrtc${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
: >"$out/steps.txt"

# A step that fails is noted and does not stop the others: GPU time is dear.
step() {
    local name=$1 code=0
    shift
    echo "== $name"
    "$@" >"$out/$name.log" 2>&1 || code=$?
    echo "$code $name" | tee -a "$out/steps.txt"
    [ "$code" = 0 ] || tail -5 "$out/$name.log"
    return "$code"
}

step doctor "$trt" -m jdetrt doctor
step tests "$trt" -m pytest tests/gpu -q -m gpu --junitxml="$out/tests.xml"
for model in "$models"/*.onnx; do
    name=$(basename "$model" .onnx) # darknet53-576x320.fp16
    plan=$out/plans/$name.plan
    step "build-$name" "$trt" -m jdetrt build "$model" -o "$plan" || continue
    cp "$plan.json" "$out/$name.plan.json"
    step "inspect-$name" "$trt" -m jdetrt inspect "$plan"
    step "verify-$name" "$trt" -m jdetrt verify "$plan" --against "${model%.*.onnx}.fp32.onnx" \
        --provider cpu --frames "$source" --limit 20 --score-threshold 0 \
        --json "$out/$name.verify.json"
    step "latency-$name" "$trt" -m jdetrt bench latency "$source" --model "$plan" \
        --frames "$frames" --json "$out/$name.latency.json"
    step "report-$name" "$trt" scripts/gpu_report.py plan "$plan" "$source" \
        "$out/$name.report.json" "$frames"
done
if [ -n "$torch" ]; then
    for checkpoint in "$models"/*.safetensors; do
        name=$(basename "$checkpoint" .safetensors)
        step "torch-$name" "$torch" scripts/gpu_report.py torch "$checkpoint" "${name##*-}" \
            "$source" "$out/$name.torch.json" "$frames"
    done
fi
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
