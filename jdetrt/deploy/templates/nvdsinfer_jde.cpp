// Output parser of nvinfer for models of `jdetrt export`, whose graph decodes boxes and scores.
//
// Outputs: "boxes" [k, 4] float32, x1 y1 x2 y2 in network pixels; "scores" [k] float32, best first;
// "embeddings" [k, D], which objects of nvinfer have no place for: probe.py reads them.

#include <algorithm>
#include <cstring>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

static const NvDsInferLayerInfo* find(const std::vector<NvDsInferLayerInfo>& layers,
                                      const char* name) {
    for (const auto& layer : layers)
        if (!layer.isInput && std::strcmp(layer.layerName, name) == 0) return &layer;
    std::cerr << "jdetrt: the model has no output '" << name << "'" << std::endl;
    return nullptr;
}

extern "C" bool NvDsInferParseJde(std::vector<NvDsInferLayerInfo> const& layers,
                                  NvDsInferNetworkInfo const& network,
                                  NvDsInferParseDetectionParams const& params,
                                  std::vector<NvDsInferObjectDetectionInfo>& objects) {
    const NvDsInferLayerInfo* boxes = find(layers, "boxes");
    const NvDsInferLayerInfo* scores = find(layers, "scores");
    if (boxes == nullptr || scores == nullptr) return false;
    if (boxes->dataType != FLOAT || scores->dataType != FLOAT) {
        std::cerr << "jdetrt: boxes and scores are to be float32" << std::endl;
        return false;
    }
    const unsigned count = scores->inferDims.numElements;
    if (boxes->inferDims.numElements != 4 * count) {
        std::cerr << "jdetrt: " << boxes->inferDims.numElements / 4 << " boxes, but " << count
                  << " scores" << std::endl;
        return false;
    }
    const float threshold =
        params.perClassPreclusterThreshold.empty() ? 0.f : params.perClassPreclusterThreshold[0];
    const float* box = static_cast<const float*>(boxes->buffer);
    const float* score = static_cast<const float*>(scores->buffer);
    const float width = static_cast<float>(network.width);
    const float height = static_cast<float>(network.height);
    for (unsigned i = 0; i < count; ++i, box += 4) {
        if (!(score[i] > threshold)) continue;  // a NaN is no detection either
        const float left = std::min(std::max(box[0], 0.f), width);
        const float top = std::min(std::max(box[1], 0.f), height);
        const float right = std::min(std::max(box[2], 0.f), width);
        const float bottom = std::min(std::max(box[3], 0.f), height);
        if (!(right > left && bottom > top)) continue;
        NvDsInferObjectDetectionInfo object{};
        object.classId = 0;
        object.left = left;
        object.top = top;
        object.width = right - left;
        object.height = bottom - top;
        object.detectionConfidence = score[i];
        objects.push_back(object);
    }
    return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseJde);
