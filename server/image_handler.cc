#include "server/image_handler.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

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

std::string VerboseInfo(const Image& image) {
  nlohmann::json layers = nlohmann::json::array();
  for (const DiffId& layer : image.layers) layers.push_back(layer.str());
  return nlohmann::json{{"chainID", ""},
                        {"imageSpec",
                         {{"created", image.config.created},
                          {"architecture", image.config.architecture},
                          {"os", image.config.os},
                          {"config",
                           {{"User", image.config.user},
                            {"Env", image.config.env},
                            {"Entrypoint", image.config.entrypoint},
                            {"Cmd", image.config.cmd},
                            {"WorkingDir", image.config.working_dir},
                            {"StopSignal", image.config.stop_signal},
                            {"Labels", image.config.labels}}},
                          {"rootfs", {{"type", "layers"}, {"diff_ids", layers}}}}}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
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
