#include "server/images/image_lookup.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "server/images/reference.h"

namespace berth {
namespace {

bool IsHex(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  });
}

}  // namespace

void ImageLookup::Publish(const ImageId& id) {
  const auto it = images_.find(id);
  if (it == images_.end()) return;
  auto copy = std::make_shared<Image>(*it->second);
  copy->repo_tags.clear();
  copy->repo_digests.clear();
  copy->pinned = false;
  for (const auto& [name, owner] : names_) {
    if (owner != id) continue;
    (absl::StrContains(name, '@') ? copy->repo_digests : copy->repo_tags).push_back(name);
    if (pinned_.count(name) > 0) copy->pinned = true;
  }
  it->second = std::move(copy);
}

std::vector<ImageId> ImageLookup::Put(Image image, const std::vector<std::string>& names) {
  const ImageId id = image.id;
  MutexLock lock(&mu_);
  std::set<ImageId> losers;
  for (const std::string& name : names) {
    const auto it = names_.find(name);
    if (it != names_.end() && it->second != id) losers.insert(it->second);
    names_[name] = id;
  }
  images_[id] = std::make_shared<const Image>(std::move(image));
  Publish(id);
  for (const ImageId& loser : losers) Publish(loser);
  return std::vector<ImageId>(losers.begin(), losers.end());
}

void ImageLookup::RemoveName(const std::string& name) {
  MutexLock lock(&mu_);
  const auto it = names_.find(name);
  if (it == names_.end()) return;
  const ImageId id = it->second;
  names_.erase(it);
  Publish(id);
}

void ImageLookup::RemoveImage(const ImageId& id) {
  MutexLock lock(&mu_);
  images_.erase(id);
  for (auto it = names_.begin(); it != names_.end();) {
    it = it->second == id ? names_.erase(it) : std::next(it);
  }
}

ImageLookup::Pointer ImageLookup::FindId(const ImageId& id) const {
  MutexLock lock(&mu_);
  const auto it = images_.find(id);
  return it == images_.end() ? nullptr : it->second;
}

absl::StatusOr<ImageLookup::Pointer> ImageLookup::FindPrefix(absl::string_view hex) const {
  const ImageId from(absl::StrCat("sha256:", hex));
  const auto first = images_.lower_bound(from);
  if (first == images_.end() || !absl::StartsWith(first->first.str(), from.str())) {
    return absl::NotFoundError(absl::StrCat("image ", hex, " not found"));
  }
  const auto second = std::next(first);
  if (second != images_.end() && absl::StartsWith(second->first.str(), from.str())) {
    return absl::InvalidArgumentError(absl::StrCat("image ID prefix ", hex, " is ambiguous"));
  }
  return first->second;
}

absl::StatusOr<ImageLookup::Pointer> ImageLookup::Find(absl::string_view text) const {
  const absl::string_view hex = absl::StripPrefix(text, "sha256:");
  MutexLock lock(&mu_);
  if (const auto it = images_.find(ImageId(std::string(text))); it != images_.end()) {
    return it->second;
  }
  if (hex.size() != text.size() || hex.size() == 64) {
    if (!IsHex(hex) || hex.size() > 64) {
      return absl::InvalidArgumentError("an image ID is sha256: and hex digits");
    }
    return FindPrefix(hex);
  }
  ASSIGN_OR_RETURN(const ImageReference reference, ParseReference(text));
  const std::string name =
      reference.digest.empty() ? reference.TagName() : reference.DigestName(reference.digest);
  if (const auto it = names_.find(name); it != names_.end()) return images_.at(it->second);
  if (IsHex(text)) return FindPrefix(text);
  return absl::NotFoundError(absl::StrCat("image ", name, " not found"));
}

std::vector<ImageLookup::Pointer> ImageLookup::List() const {
  MutexLock lock(&mu_);
  std::vector<Pointer> all;
  for (const auto& [id, image] : images_) all.push_back(image);
  return all;
}

}  // namespace berth
