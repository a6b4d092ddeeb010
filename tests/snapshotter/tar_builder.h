// Tars written by hand, byte for byte, so that hostile ones can be written too (POSIX.1-2001 pax).
#ifndef BERTH_TESTS_SNAPSHOTTER_TAR_BUILDER_H_
#define BERTH_TESTS_SNAPSHOTTER_TAR_BUILDER_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace berth {

struct TarAttributes {
  mode_t mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  long mtime = 1000000000;
  std::vector<std::pair<std::string, std::string>> pax;  // records of an extended header
};

class TarBuilder {
 public:
  using Attributes = TarAttributes;

  TarBuilder& File(const std::string& name, const std::string& content, Attributes attributes = {});
  TarBuilder& Directory(const std::string& name, Attributes attributes = {.mode = 0755});
  TarBuilder& Symlink(const std::string& name, const std::string& target);
  TarBuilder& HardLink(const std::string& name, const std::string& target);
  TarBuilder& Node(const std::string& name, char type, unsigned major, unsigned minor,
                   Attributes attributes = {});
  // With the two zero blocks at the end.
  std::string Build() const { return bytes_ + std::string(1024, '\0'); }
  std::string BuildWithoutEnd() const { return bytes_; }

 private:
  void Entry(const std::string& name, char type, const std::string& link,
             const std::string& content, const Attributes& attributes, unsigned major = 0,
             unsigned minor = 0);
  void Header(const std::string& name, char type, const std::string& link, size_t size,
              const Attributes& attributes, unsigned major, unsigned minor);

  std::string bytes_;
};

}  // namespace berth

#endif  // BERTH_TESTS_SNAPSHOTTER_TAR_BUILDER_H_
