// The CDI devices of this host, from the files in its CDI directories.
//
//   CdiRegistry registry({"/etc/cdi", "/var/run/cdi"});
//   ASSIGN_OR_RETURN(std::vector<CdiEdits> edits, registry.Resolve({"vendor.com/gpu=0"}));
//
// Files are looked at when a container asks for a device, and read again if they have changed: a device
// plugin may write one just before. So nothing waits for events, and an idle node reads nothing.
//
// A later directory's device hides an earlier one's of the same name; two files of one directory that both
// have it make it ambiguous, and it is refused. A file that doesn't parse hides nothing: whoever asks for a
// device that isn't found is told of it.
#ifndef BERTH_SERVER_CDI_CDI_REGISTRY_H_
#define BERTH_SERVER_CDI_CDI_REGISTRY_H_

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/cdi/cdi_spec.h"

namespace berth {

// Any thread may call it.
class CdiRegistry {
 public:
  explicit CdiRegistry(std::vector<std::string> directories);

  // What the devices ask for, in order: each file's own edits once, before those of its first device.
  // InvalidArgument for a name that is none, an unknown or ambiguous device (with what is wrong with files
  // that could not be read), and for what this runtime has not (`intelRdt`). Reads the directories.
  absl::StatusOr<std::vector<CdiEdits>> Resolve(const std::vector<std::string>& names)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct File {
    struct timespec changed = {};
    off_t size = 0;
    ino_t inode = 0;
    absl::StatusOr<std::shared_ptr<const CdiSpec>> spec = absl::UnknownError("");
  };
  // What stands behind a name in one look at the directories.
  struct Found {
    std::string path;
    std::shared_ptr<const CdiSpec> spec;
    const CdiDevice* device = nullptr;
    std::string rival;  // another file of the same directory
  };
  using Files = std::map<std::string, File>;

  static Files Read(const std::string& directory, const Files& known);
  Found Find(const std::vector<Files>& files, const CdiName& name) const;

  const std::vector<std::string> directories_;
  Mutex mu_;
  std::vector<Files> files_ ABSL_GUARDED_BY(mu_);  // of each directory, by path
};

}  // namespace berth

#endif  // BERTH_SERVER_CDI_CDI_REGISTRY_H_
