// The daemon's configuration: embedded defaults, then a TOML file, then flags.
//
//   ASSIGN_OR_RETURN(CommandLine line, ParseCommandLine(argc, argv));
//   if (line.action == CommandLine::kHelp) { ... print HelpText() ... }
//   LogInfo("root ", line.config.root);
//
// deploy/config.toml has every key with its default and what it does. Config and the tables in
// config.cc are the only places that know the keys: a key is one member here and one row there.
#ifndef BERTH_SERVER_CONFIG_CONFIG_H_
#define BERTH_SERVER_CONFIG_CONFIG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace berth {

struct Config {
  struct Cgroup {
    std::string driver = "cgroupfs";  // or systemd
    // Where keepers live, outside every pod; made if missing, never removed. Empty: in the cgroup that
    // the daemon was started in.
    std::string keepers_cgroup;
  };

  struct Registry {
    std::string config_path = "/etc/berth/certs.d";  // HOST/hosts.toml
    int64_t max_concurrent_downloads = 3;
    absl::Duration stall_timeout = absl::Seconds(30);
  };

  struct Network {
    std::string conf_dir = "/etc/cni/net.d";
    std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
    absl::Duration plugin_timeout = absl::Seconds(30);
    // CNI GC at start: only where no other runtime uses the network.
    bool gc = false;
  };

  struct Streaming {
    std::string address = "127.0.0.1:0";
    absl::Duration idle_timeout = absl::Hours(4);
  };

  struct Runtime {
    // Programs; empty: beside berthd's own binary, then in /usr/libexec/berth. See FindProgram.
    std::string keeper;
    std::string unpacker;
    std::string default_handler = "berth";
    int64_t pids_limit = 0;                // per container, 0: no limit
    int64_t shm_size = int64_t{64} << 20;  // bytes, of a pod's /dev/shm
    // What a pod's runtime_handler may name. `berth` is there always, and only it has no path.
    struct Handler {
      std::string path;                  // the program of an OCI runtime
      std::vector<std::string> options;  // of its command line, before the command
      // Of the pod's and the container's annotations those that the OCI specification gets; a * stands
      // for anything.
      std::vector<std::string> annotations;
    };
    std::map<std::string, Handler> handlers = {{"berth", {}}};
  };

  struct Cdi {
    std::vector<std::string> directories = {"/etc/cdi", "/var/run/cdi"};
  };

  struct Image {
    int64_t max_layer_bytes = int64_t{64} << 30;
    int64_t max_layer_files = 4000000;
    std::vector<std::string> pinned;
  };

  std::string root = "/var/lib/berth";
  std::string state = "/run/berth";
  std::string address = "unix:///run/berth/berthd.sock";
  std::string metrics_address = "127.0.0.1:9626";  // empty: no metrics served
  std::string log_level = "info";
  Cgroup cgroup;
  Registry registry;
  Network network;
  Streaming streaming;
  Runtime runtime;
  Image image;
  Cdi cdi;

  // The path of the CRI socket, from `address`.
  std::string SocketPath() const;
  // All keys as TOML, which LoadConfig reads back to an equal Config.
  std::string Dump() const;
  // The same as JSON, for people who ask a running daemon.
  std::string DumpJson() const;
};

// Reads the keys that `toml` has into `config`. InvalidArgument says `name:LINE: KEY: what is
// wrong`: for a syntax error, an unknown key or section, a wrong type, or a value out of range.
absl::Status ParseConfig(absl::string_view toml, absl::string_view name, Config* config);
absl::Status LoadConfig(const std::string& path, Config* config);

struct CommandLine {
  enum Action { kServe, kHelp, kVersion };
  Action action = kServe;
  std::string config_file;  // empty: none was given
  Config config;
};

// Flags are --name=value or --name value; a list flag may be repeated or hold several values
// separated by commas, and replaces the file's list. InvalidArgument names a flag that is unknown,
// lacks its value or has a bad one, and any argument that is no flag.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);
std::string HelpText();

// One row of the key table, for tests and documentation.
struct ConfigKey {
  std::string name;           // cgroup.driver
  std::string flag;           // --root; empty: the key has no flag
  std::string default_value;  // as TOML
};
std::vector<ConfigKey> ConfigKeys();

// `configured` if it is not empty; else `name` beside the running binary, else in
// /usr/libexec/berth. NotFound lists where it looked; FailedPrecondition if the file found can't be
// executed.
absl::StatusOr<std::string> FindProgram(const std::string& configured, absl::string_view name);

}  // namespace berth

#endif  // BERTH_SERVER_CONFIG_CONFIG_H_
