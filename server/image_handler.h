// runtime.v1.ImageService over the images of this node.
#ifndef BERTH_SERVER_IMAGE_HANDLER_H_
#define BERTH_SERVER_IMAGE_HANDLER_H_

#include "server/cri/handlers.h"
#include "server/images/image_service.h"

namespace berth {

class ImageHandler : public ImageServiceHandler {
 public:
  explicit ImageHandler(ImageService* images) : images_(images) {}

  absl::Status ListImages(const CallContext& context, const cri::ListImagesRequest& request,
                          cri::ListImagesResponse* response) override;
  absl::Status StreamImages(const CallContext& context, const cri::StreamImagesRequest& request,
                            ResponseStream<cri::StreamImagesResponse>* stream) override;
  absl::Status ImageStatus(const CallContext& context, const cri::ImageStatusRequest& request,
                           cri::ImageStatusResponse* response) override;
  absl::Status PullImage(const CallContext& context, const cri::PullImageRequest& request,
                         cri::PullImageResponse* response) override;
  absl::Status RemoveImage(const CallContext& context, const cri::RemoveImageRequest& request,
                           cri::RemoveImageResponse* response) override;
  absl::Status ImageFsInfo(const CallContext& context, const cri::ImageFsInfoRequest& request,
                           cri::ImageFsInfoResponse* response) override;

 private:
  ImageService* const images_;
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGE_HANDLER_H_
