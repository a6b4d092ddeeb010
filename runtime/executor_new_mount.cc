#include "runtime/executor_new_mount.h"

#include <errno.h>
#include <string.h>

#include "runtime/executor_sys.h"

namespace berth {

bool ConfigureOptions(int fs, const char* options) {
  char word[kFsConfigMax + 1];
  while (options != nullptr && *options != 0) {
    const char* end = strchr(options, ',');
    const size_t length = end ? static_cast<size_t>(end - options) : strlen(options);
    if (length > kFsConfigMax) {
      errno = ENAMETOOLONG;
      return false;
    }
    memcpy(word, options, length);
    word[length] = 0;
    options += length + (end ? 1 : 0);
    if (length == 0) continue;
    char* equals = strchr(word, '=');
    if (equals != nullptr) *equals = 0;
    const int rc = equals ? sys::FsConfig(fs, FSCONFIG_SET_STRING, word, equals + 1, 0)
                          : sys::FsConfig(fs, FSCONFIG_SET_FLAG, word, nullptr, 0);
    if (rc != 0) return false;
  }
  return true;
}

int NewMount(const char* type, const char* options, uint64_t attributes, int pidns) {
  const int fs = sys::FsOpen(type);
  if (fs < 0) return -1;
  int mount = -1;
  if ((pidns < 0 || sys::FsConfig(fs, FSCONFIG_SET_FD, "pidns", nullptr, pidns) == 0) &&
      ConfigureOptions(fs, options) &&
      sys::FsConfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = sys::FsMount(fs, static_cast<unsigned>(attributes));
  }
  const int error = errno;
  close(fs);
  errno = error;
  return mount;
}

}  // namespace berth
