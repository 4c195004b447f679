#!/bin/sh
# Writes locks/cpu.txt and locks/cuda.txt from pyproject.toml, and locks/peers*.txt from
# locks/peers*.in (run it as `make lock`).
# The options in $extras, $compile and $skip are separate words on purpose.
# shellcheck disable=SC2086
set -eu
cd "$(dirname "$0")/.."
extras="--extra ranking --extra retrieval --extra text --extra features --extra spark --extra streaming --extra serving --extra anomaly --extra sweeps --extra dev"
plain="--python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet"
compile="uv pip compile pyproject.toml $extras --override locks/overrides.txt $plain"
# The CPU build of torch needs none of the CUDA libraries that its metadata on the registry names.
cuda_only="cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx"
skip=""
for name in $cuda_only; do skip="$skip --no-emit-package $name"; done
$compile --extra cpu --no-emit-package torch --no-emit-package fbgemm-gpu $skip --output-file locks/cpu.txt
$compile --extra cuda --output-file locks/cuda.txt
for peers in peers peers_anomaly; do
  uv pip compile "locks/$peers.in" $plain --no-emit-package torch $skip --output-file "locks/$peers.txt"
done
wc -l locks/*.txt
