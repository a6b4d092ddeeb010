// A message as bytes that are equal for equal messages: how a retry is told from another request.
#ifndef BERTH_SERVER_PODS_FINGERPRINT_H_
#define BERTH_SERVER_PODS_FINGERPRINT_H_

#include <string>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message_lite.h"

namespace berth {

// Equal within one build of the daemon: maps are sorted, which protobuf promises for no longer.
inline std::string Fingerprint(const google::protobuf::MessageLite& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace berth

#endif  // BERTH_SERVER_PODS_FINGERPRINT_H_
