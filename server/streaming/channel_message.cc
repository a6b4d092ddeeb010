#include "server/streaming/channel_message.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr int kCloseChannel = 255;

// Groups of four characters. absl's decoder skips white space and takes unpadded ends: neither here.
absl::Status Decode(absl::string_view quads, std::string* bytes) {
  const bool plain = std::none_of(quads.begin(), quads.end(), [](char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0' || c == '.';
  });
  if (plain && absl::Base64Unescape(quads, bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError("a message is no base64");
}

}  // namespace

absl::Status ChannelReader::Read(absl::string_view piece, bool last) {
  if (channel_ < 0 && !piece.empty()) {
    channel_ = static_cast<uint8_t>(piece[0]);
    if (base64_) channel_ -= '0';
    if (channel_ < 0)
      return absl::InvalidArgumentError("a message begins with no channel's number");
    piece.remove_prefix(1);
  }
  if (!piece.empty()) RETURN_IF_ERROR(ReadBody(piece));
  if (!last) return absl::OkStatus();
  if (!quad_.empty()) return absl::InvalidArgumentError("a message is no base64");
  if (closing_.size() == 1) visitor_->OnChannelClosed(static_cast<uint8_t>(closing_[0]));
  closing_.clear();
  channel_ = -1;
  padded_ = false;
  return absl::OkStatus();
}

absl::Status ChannelReader::ReadBody(absl::string_view piece) {
  if (half_close_ && channel_ == kCloseChannel) {
    closing_.append(piece.data(), std::min<size_t>(piece.size(), 2 - closing_.size()));
    return absl::OkStatus();
  }
  if (base64_) return ReadBase64(piece);
  visitor_->OnChannelData(channel_, piece);
  return absl::OkStatus();
}

absl::Status ChannelReader::ReadBase64(absl::string_view piece) {
  std::string bytes;
  if (padded_) return absl::InvalidArgumentError("a message is no base64");
  if (!quad_.empty()) {
    const size_t take = std::min(4 - quad_.size(), piece.size());
    quad_.append(piece.data(), take);
    piece.remove_prefix(take);
    if (quad_.size() < 4) return absl::OkStatus();
    RETURN_IF_ERROR(Decode(quad_, &bytes));
    padded_ = quad_.back() == '=';
    quad_.clear();
    if (!bytes.empty()) visitor_->OnChannelData(channel_, bytes);
    if (padded_ && !piece.empty()) return absl::InvalidArgumentError("a message is no base64");
  }
  const absl::string_view quads = piece.substr(0, piece.size() / 4 * 4);
  quad_ = std::string(piece.substr(quads.size()));
  if (quads.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Decode(quads, &bytes));
  padded_ = quads.back() == '=';
  if (padded_ && !quad_.empty()) return absl::InvalidArgumentError("a message is no base64");
  if (!bytes.empty()) visitor_->OnChannelData(channel_, bytes);
  return absl::OkStatus();
}

std::string ChannelHead(int channel, bool base64) {
  return std::string(1, static_cast<char>(base64 ? '0' + channel : channel));
}

std::string ChannelText(int channel, absl::string_view bytes) {
  return ChannelHead(channel, true) + absl::Base64Escape(bytes);
}

}  // namespace berth
