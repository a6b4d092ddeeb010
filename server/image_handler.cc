#include "server/image_handler.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/cri/batches.h"
#include "server/images/digest.h"

namespace berth {
namespace {

cri::Image Item(const Image& image) {
  cri::Image item;
  item.set_id(image.id.str());
  item.mutable_repo_tags()->Assign(image.repo_tags.begin(), image.repo_tags.end());
  item.mutable_repo_digests()->Assign(image.repo_digests.begin(), image.repo_digests.end());
  item.set_size(image.size);
  item.set_pinned(image.pinned);
  // kubelet checks runAsNonRoot against these two.
  const std::string user = image.config.user.substr(0, image.config.user.find(':'));
  int64_t uid = 0;
  if (absl::SimpleAtoi(user, &uid)) {
    item.mutable_uid()->set_value(uid);
  } else if (user.empty()) {
    item.mutable_uid()->set_value(0);
  } else {
    item.set_username(user);
  }
  return item;
}

RegistryAuth AuthOf(const cri::AuthConfig& auth) {
  return RegistryAuth{.username = auth.username(),
                      .password = auth.password(),
                      .auth = auth.auth(),
                      .server_address = auth.server_address(),
                      .identity_token = auth.identity_token(),
                      .registry_token = auth.registry_token()};
}

using nlohmann::json;

// image-spec v1.1, config.md, "Layer ChainID": of the first layer its diff ID, of each other the digest
// of the chain below and its diff ID.
std::string ChainId(const std::vector<DiffId>& layers) {
  std::string chain;
  for (const DiffId& layer : layers) {
    if (chain.empty()) {
      chain = layer.str();
      continue;
    }
    DigestHasher hasher("sha256");
    hasher.Update(absl::StrCat(chain, " ", layer.str()));
    chain = hasher.Finish();
  }
  return chain;
}

// Sets that the image format has as objects: {"/data": {}}.
json Keys(const std::vector<std::string>& set) {
  json object = json::object();
  for (const std::string& key : set) object[key] = json::object();
  return object;
}

// Without what is empty, as the image format has it.
json Trimmed(json object) {
  for (auto it = object.begin(); it != object.end();) {
    const bool text = it->is_string() && it->get_ref<const std::string&>().empty();
    const bool empty = text || (it->is_structured() && it->empty());
    it = empty ? object.erase(it) : std::next(it);
  }
  return object;
}

// What containerd answers: the chain ID and the image's configuration (without its history).
std::string VerboseInfo(const Image& image) {
  json layers = json::array();
  for (const DiffId& layer : image.diff_ids) layers.push_back(layer.str());
  const ImageConfig& c = image.config;
  const json config = Trimmed({{"User", c.user},
                               {"ExposedPorts", Keys(c.exposed_ports)},
                               {"Env", c.env},
                               {"Entrypoint", c.entrypoint},
                               {"Cmd", c.cmd},
                               {"Volumes", Keys(c.volumes)},
                               {"WorkingDir", c.working_dir},
                               {"Labels", c.labels},
                               {"StopSignal", c.stop_signal}});
  json spec = Trimmed({{"created", c.created},
                       {"architecture", c.architecture},
                       {"variant", c.variant},
                       {"os", c.os}});
  spec["config"] = config;
  spec["rootfs"] = {{"type", "layers"}, {"diff_ids", layers}};
  return json{{"chainID", ChainId(image.diff_ids)}, {"imageSpec", spec}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

absl::Status ImageHandler::ListImages(const CallContext& context,
                                      const cri::ListImagesRequest& request,
                                      cri::ListImagesResponse* response) {
  for (const auto& image : images_->List(request.filter().image().image())) {
    *response->add_images() = Item(*image);
  }
  return absl::OkStatus();
}

absl::Status ImageHandler::StreamImages(const CallContext& context,
                                        const cri::StreamImagesRequest& request,
                                        ResponseStream<cri::StreamImagesResponse>* stream) {
  Batches batches(stream, &cri::StreamImagesResponse::mutable_images);
  for (const auto& image : images_->List(request.filter().image().image())) {
    if (!batches.Add(Item(*image))) break;
  }
  return batches.Finish();
}

absl::Status ImageHandler::ImageStatus(const CallContext& context,
                                       const cri::ImageStatusRequest& request,
                                       cri::ImageStatusResponse* response) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image is empty");
  const auto image = images_->Resolve(request.image().image());
  if (absl::IsNotFound(image.status())) return absl::OkStatus();  // the CRI's way to say so
  RETURN_IF_ERROR(image.status());
  *response->mutable_image() = Item(**image);
  if (request.verbose()) (*response->mutable_info())["info"] = VerboseInfo(**image);
  return absl::OkStatus();
}

absl::Status ImageHandler::PullImage(const CallContext& context,
                                     const cri::PullImageRequest& request,
                                     cri::PullImageResponse* response) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image is empty");
  Cancellation cancellation(context.deadline());
  const CancelSubscription subscription =
      context.OnCancel([&cancellation] { cancellation.Cancel(); });
  ASSIGN_OR_RETURN(const PulledImage pulled,
                   images_->Pull(request.image().image(), AuthOf(request.auth()), &cancellation));
  response->set_image_ref(pulled.id.str());
  return absl::OkStatus();
}

absl::Status ImageHandler::RemoveImage(const CallContext& context,
                                       const cri::RemoveImageRequest& request,
                                       cri::RemoveImageResponse* response) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image is empty");
  return images_->Remove(request.image().image());
}

absl::Status ImageHandler::ImageFsInfo(const CallContext& context,
                                       const cri::ImageFsInfoRequest& request,
                                       cri::ImageFsInfoResponse* response) {
  const ImageFilesystem usage = images_->FsInfo();
  cri::FilesystemUsage* images = response->add_image_filesystems();
  images->set_timestamp(absl::ToUnixNanos(usage.timestamp));
  images->mutable_fs_id()->set_mountpoint(usage.mountpoint);
  images->mutable_used_bytes()->set_value(usage.used_bytes);
  images->mutable_inodes_used()->set_value(usage.inodes_used);
  // Layers and writable layers lie on one file system: kubelet takes that from equal mount points.
  *response->add_container_filesystems() = *images;
  return absl::OkStatus();
}

}  // namespace berth
