// Calls the parser with plain arrays, for ctypes.
#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseJde(std::vector<NvDsInferLayerInfo> const&,
                                  NvDsInferNetworkInfo const&,
                                  NvDsInferParseDetectionParams const&,
                                  std::vector<NvDsInferObjectDetectionInfo>&);

extern "C" int parse(float* boxes, float* scores, unsigned count, unsigned width, unsigned height,
                     float threshold, float* rows, unsigned box_elements) {
    std::vector<NvDsInferLayerInfo> layers = {
        {FLOAT, {2, {count, 4}, box_elements}, 1, "boxes", boxes, 0},
        {FLOAT, {1, {count}, count}, 2, "scores", scores, 0},
    };
    std::vector<NvDsInferObjectDetectionInfo> objects;
    if (!NvDsInferParseJde(layers, {width, height, 3}, {1, {threshold}, {}}, objects)) return -1;
    for (auto const& o : objects) {
        for (float value : {o.left, o.top, o.width, o.height, o.detectionConfidence})
            *rows++ = value;
    }
    return static_cast<int>(objects.size());
}
