// A streaming list's items, packed into messages of bounded size.
//
// The streaming lists of the CRI exist because a List of a large node outgrows gRPC's limit for one
// message. Items are made one at a time and leave as soon as a message is full, so neither side holds
// more than one message of them.
//
//   Batches batches(stream, &cri::StreamContainersResponse::mutable_containers);
//   for (...) if (!batches.Add(item)) return absl::CancelledError(...);
//   return batches.Finish() ? ...
#ifndef BERTH_SERVER_CRI_BATCHES_H_
#define BERTH_SERVER_CRI_BATCHES_H_

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "google/protobuf/repeated_field.h"
#include "server/cri/handlers.h"

namespace berth {

template <typename Response, typename Item>
class Batches {
 public:
  // A message leaves with this many items, or as soon as it has this many bytes.
  static constexpr int kItems = 256;
  static constexpr size_t kBytes = 1 << 20;

  Batches(ResponseStream<Response>* stream,
          google::protobuf::RepeatedPtrField<Item>* (Response::*field)())
      : stream_(stream), field_(field) {}

  // False once nobody listens.
  bool Add(Item item) {
    bytes_ += item.ByteSizeLong();
    auto* items = (response_.*field_)();
    *items->Add() = std::move(item);
    return (items->size() < kItems && bytes_ < kBytes) || Flush();
  }

  // Sends what is left: what the handler returns at the end.
  absl::Status Finish() {
    if (open_ && (response_.*field_)()->size() > 0) Flush();
    return open_ ? absl::OkStatus() : absl::CancelledError("the client left during the list");
  }

 private:
  bool Flush() {
    open_ = open_ && stream_->Write(response_);
    response_.Clear();
    bytes_ = 0;
    return open_;
  }

  ResponseStream<Response>* const stream_;
  google::protobuf::RepeatedPtrField<Item>* (Response::* const field_)();
  Response response_;
  size_t bytes_ = 0;
  bool open_ = true;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_BATCHES_H_
