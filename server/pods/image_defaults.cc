#include "server/pods/image_defaults.h"

namespace berth {

store::v1::ImageDefaults ToRecord(const ImageConfig& image) {
  store::v1::ImageDefaults defaults;
  defaults.set_user(image.user);
  defaults.mutable_env()->Assign(image.env.begin(), image.env.end());
  defaults.mutable_entrypoint()->Assign(image.entrypoint.begin(), image.entrypoint.end());
  defaults.mutable_cmd()->Assign(image.cmd.begin(), image.cmd.end());
  defaults.set_working_dir(image.working_dir);
  defaults.mutable_volumes()->Assign(image.volumes.begin(), image.volumes.end());
  return defaults;
}

ImageConfig FromRecord(const store::v1::ImageDefaults& defaults) {
  ImageConfig image;
  image.user = defaults.user();
  image.env.assign(defaults.env().begin(), defaults.env().end());
  image.entrypoint.assign(defaults.entrypoint().begin(), defaults.entrypoint().end());
  image.cmd.assign(defaults.cmd().begin(), defaults.cmd().end());
  image.working_dir = defaults.working_dir();
  image.volumes.assign(defaults.volumes().begin(), defaults.volumes().end());
  return image;
}

}  // namespace berth
