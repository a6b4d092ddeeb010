// What a session works with: the loop that it lives on, threads for what blocks, the flows.
#ifndef BERTH_SERVER_STREAMING_STREAM_LOOP_H_
#define BERTH_SERVER_STREAMING_STREAM_LOOP_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "server/cri/blocking_pool.h"
#include "server/streaming/stream_backend.h"

namespace berth {

struct StreamLoop {
  boost::asio::io_context* io = nullptr;
  BlockingPool* pool = nullptr;
  StreamBackend* backend = nullptr;
  std::chrono::milliseconds idle = std::chrono::hours(4);
  // For a client to make the streams that it needs, and for a connection within a pod.
  std::chrono::milliseconds patience = std::chrono::seconds(30);

  // Runs `work` on a thread that may block, then `then` with its result on the loop.
  template <typename Work, typename Then>
  void Do(Work work, Then then) const {
    pool->Run([io = io, work = std::move(work), then = std::move(then)]() mutable {
      auto result = std::make_shared<decltype(work())>(work());
      boost::asio::post(*io,
                        [result, then = std::move(then)]() mutable { then(std::move(*result)); });
    });
  }
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_STREAM_LOOP_H_
