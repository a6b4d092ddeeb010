// CRI messages as JSON for people: what `crictl inspect` shows as `config`.
//
// The same form as runtimes in Go print: fields by their names in the .proto, only those that are set,
// numbers and enums as numbers, bytes as text. Not protobuf's own mapping, which has 64-bit numbers as
// strings: templates that were written for another runtime go on to work.
#ifndef BERTH_SERVER_CRI_PROTO_JSON_H_
#define BERTH_SERVER_CRI_PROTO_JSON_H_

#include <google/protobuf/message.h>

#include "nlohmann/json.hpp"

namespace berth {

// Text that is no UTF-8 stays as it is: dump with error_handler_t::replace.
nlohmann::json ProtoToJson(const google::protobuf::Message& message);

}  // namespace berth

#endif  // BERTH_SERVER_CRI_PROTO_JSON_H_
