// Compares an unpacked layer with its digest list.
#ifndef BERTH_SNAPSHOTTER_LAYER_CHECK_H_
#define BERTH_SNAPSHOTTER_LAYER_CHECK_H_

#include <string>

#include "absl/status/status.h"

namespace berth {

// DataLoss names the first difference: the list itself, a file that is missing, changed, or too many.
// Times of access are not looked at, and neither is the content of sparse files. Reads every byte.
absl::Status CheckLayer(const std::string& tree, const std::string& digests,
                        const std::string& expected_list_digest);

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_LAYER_CHECK_H_
