#include "server/config/config.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/files.h"

namespace berth {
namespace {

constexpr char kShipped[] = "deploy/config.toml";

std::string ErrorOf(absl::string_view toml) {
  Config config;
  const absl::Status status = ParseConfig(toml, "f", &config);
  EXPECT_EQ(status.code(),
            status.ok() ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

absl::StatusOr<CommandLine> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "berthd");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(ConfigTest, AnEmptyFileLeavesTheDefaults) {
  Config config;
  ASSERT_TRUE(ParseConfig("", "f", &config).ok());
  EXPECT_EQ(config.root, "/var/lib/berth");
  EXPECT_EQ(config.SocketPath(), "/run/berth/berthd.sock");
}

TEST(ConfigTest, EveryKindOfValueIsRead) {
  Config config;
  const absl::Status status = ParseConfig(
      "root = '/r'\n[network]\nbin_dirs = ['/a', \"/b\"]\nplugin_timeout = '1m30s'\n"
      "[runtime]\npids_limit = 77\n",
      "f", &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.root, "/r");
  EXPECT_EQ(config.network.bin_dirs, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(config.network.plugin_timeout, absl::Seconds(90));
  EXPECT_EQ(config.runtime.pids_limit, 77);
}

TEST(ConfigTest, RuntimeHandlersAreRead) {
  Config config;
  ASSERT_TRUE(ParseConfig("", "f", &config).ok());
  ASSERT_EQ(config.runtime.handlers.size(), 1u);  // berth itself
  const absl::Status status = ParseConfig(
      "[runtime]\ndefault_handler = 'runc'\n"
      "[runtime.handlers.runc]\npath = '/usr/sbin/runc'\noptions = ['--debug']\n"
      "annotations = ['io.example.*', 'x']\n"
      "[runtime.handlers.berth]\nannotations = ['y']\n",
      "f", &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.runtime.default_handler, "runc");
  ASSERT_EQ(config.runtime.handlers.size(), 2u);
  const Config::Runtime::Handler& runc = config.runtime.handlers["runc"];
  EXPECT_EQ(runc.path, "/usr/sbin/runc");
  EXPECT_EQ(runc.options, std::vector<std::string>{"--debug"});
  EXPECT_EQ(runc.annotations, (std::vector<std::string>{"io.example.*", "x"}));
  EXPECT_EQ(config.runtime.handlers["berth"].annotations, std::vector<std::string>{"y"});
  Config back;
  ASSERT_TRUE(ParseConfig(config.Dump(), "dump", &back).ok());
  EXPECT_EQ(back.Dump(), config.Dump());
  EXPECT_EQ(back.runtime.handlers["runc"].options, runc.options);
}

TEST(ConfigTest, MistakesInHandlersAreNamed) {
  const std::string runc = "[runtime.handlers.runc]\n";
  EXPECT_EQ(ErrorOf("[runtime]\nhandlers = 1"), "f:2: runtime.handlers is no section");
  EXPECT_EQ(ErrorOf("[runtime.handlers]\nrunc = '/x'"), "f:2: runtime.handlers.runc is no section");
  EXPECT_EQ(ErrorOf(runc), "f:1: runtime.handlers.runc.path is no absolute path");
  EXPECT_EQ(ErrorOf(runc + "path = 'runc'"), "f:1: runtime.handlers.runc.path is no absolute path");
  EXPECT_EQ(ErrorOf(runc + "path = \"/a\\u0000\""),
            "f:2: runtime.handlers.runc.path has a NUL byte");
  EXPECT_EQ(ErrorOf(runc + "path = '/r'\nroot = '/x'"),
            "f:3: runtime.handlers.runc.root is unknown");
  EXPECT_EQ(ErrorOf(runc + "path = '/r'\noptions = ['']"),
            "f:1: runtime.handlers.runc.options has an empty one, or one of several lines");
  EXPECT_EQ(ErrorOf(runc + "path = '/r'\noptions = 'x'"),
            "f:3: runtime.handlers.runc.options is no array of strings");
  EXPECT_EQ(ErrorOf(runc + "path = '/r'\nannotations = ['']"),
            "f:1: runtime.handlers.runc.annotations has an empty pattern");
  EXPECT_EQ(ErrorOf("[runtime.handlers.'a b']\npath = '/r'"),
            "f:1: runtime.handlers.a b is no name of letters, digits, - _ and .");
  EXPECT_EQ(ErrorOf("[runtime.handlers.berth]\npath = '/r'"),
            "f:1: runtime.handlers.berth.path: berth is no other program");
}

TEST(ConfigTest, MistakesAreRefusedWithTheirLineAndKey) {
  EXPECT_EQ(ErrorOf("\nroott = '/x'"), "f:2: roott is unknown");
  EXPECT_EQ(ErrorOf("[cgroup]\n\ndirver = 'x'"), "f:3: cgroup.dirver is unknown");
  EXPECT_EQ(ErrorOf("[nonsense]\nx = 1"), "f:1: nonsense is unknown");
  EXPECT_EQ(ErrorOf("cgroup = 1"), "f:1: cgroup is no section");
  EXPECT_EQ(ErrorOf("root = 1"), "f:1: root is no string");
  EXPECT_EQ(ErrorOf("root = 'relative'"), "f:1: root is no absolute path");
  EXPECT_EQ(ErrorOf("root = \"/a\\u0000b\""), "f:1: root has a NUL byte");
  EXPECT_EQ(ErrorOf("address = '/run/x'"), "f:1: address does not begin with unix://");
  EXPECT_EQ(ErrorOf(absl::StrCat("address = 'unix:///", std::string(107, 'x'), "'")),
            "f:1: address is longer than the 107 bytes of a socket's path");
  EXPECT_EQ(ErrorOf("metrics_address = '127.0.0.1'"), "f:1: metrics_address is not HOST:PORT");
  EXPECT_EQ(ErrorOf("metrics_address = 'h:99999'"), "f:1: metrics_address is not HOST:PORT");
  EXPECT_EQ(ErrorOf("metrics_address = 'h:+1'"), "f:1: metrics_address is not HOST:PORT");
  EXPECT_EQ(ErrorOf("log_level = 'loud'"), "f:1: log_level is not debug, info, warning or error");
  EXPECT_EQ(ErrorOf("[cgroup]\ndriver = 'x'"), "f:2: cgroup.driver is not cgroupfs or systemd");
  EXPECT_EQ(ErrorOf("[runtime]\npids_limit = '5'"), "f:2: runtime.pids_limit is no integer");
  EXPECT_EQ(ErrorOf("[runtime]\npids_limit = 1.5"), "f:2: runtime.pids_limit is no integer");
  EXPECT_EQ(ErrorOf("[network]\ngc = 'yes'"), "f:2: network.gc is neither true nor false");
  EXPECT_EQ(ErrorOf("[runtime]\npids_limit = -1"),
            "f:2: runtime.pids_limit is not between 0 and 4194304");
  EXPECT_EQ(ErrorOf("[network]\nplugin_timeout = 'soon'"),
            "f:2: network.plugin_timeout is no duration such as \"30s\" or \"2m\"");
  EXPECT_EQ(ErrorOf("[network]\nplugin_timeout = '0s'"),
            "f:2: network.plugin_timeout is not between 1s and 3600s");
  EXPECT_EQ(ErrorOf("[network]\nbin_dirs = '/a'"), "f:2: network.bin_dirs is no array of strings");
  EXPECT_EQ(ErrorOf("[network]\nbin_dirs = ['/a', 1]"),
            "f:2: network.bin_dirs is no array of strings");
  EXPECT_EQ(ErrorOf("[network]\nbin_dirs = []"), "f:2: network.bin_dirs has no directory");
  EXPECT_EQ(ErrorOf("root = '/a'\nroot = '/b'").substr(0, 4), "f:2:");
  EXPECT_EQ(ErrorOf("root = ").substr(0, 2), "f:");
  EXPECT_EQ(ErrorOf("\xff\xfe").substr(0, 2), "f:");
  EXPECT_EQ(ErrorOf("\n[!]").substr(0, 4), "f:2:");
  EXPECT_EQ(ErrorOf("root = '/a' \u00e1").substr(0, 4), "f:1:");
  EXPECT_EQ(ErrorOf("\uFEE7").substr(0, 4), "f:1:");
}

TEST(ConfigTest, TheShippedFileNamesEveryKeyWithItsDefault) {
  const absl::StatusOr<std::string> shipped = ReadFile(kShipped);
  ASSERT_TRUE(shipped.ok()) << shipped.status();
  std::string section;
  std::vector<std::string> found;
  std::string uncommented;
  for (absl::string_view line : absl::StrSplit(*shipped, '\n')) {
    if (!line.empty() && line[0] == '[') {
      section = absl::StrCat(line.substr(1, line.size() - 2), ".");
      absl::StrAppend(&uncommented, line, "\n");
    }
    for (const ConfigKey& key : ConfigKeys()) {
      const size_t dot = key.name.rfind('.');
      const std::string name = dot == std::string::npos ? key.name : key.name.substr(dot + 1);
      if (section + name != key.name) continue;
      if (line == absl::StrCat("# ", name, " = ", key.default_value)) {
        found.push_back(key.name);
        absl::StrAppend(&uncommented, line.substr(2), "\n");
      }
    }
  }
  std::vector<std::string> expected;
  for (const ConfigKey& key : ConfigKeys()) expected.push_back(key.name);
  EXPECT_EQ(found, expected);
  Config config;
  EXPECT_TRUE(ParseConfig(*shipped, kShipped, &config).ok());
  const absl::Status status = ParseConfig(uncommented, "uncommented", &config);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.Dump(), Config().Dump());
}

TEST(ConfigTest, ADumpReadsBackEqual) {
  Config config;
  config.root = "/with \"quotes\" and \\";
  config.network.bin_dirs = {"/x\ty"};
  config.image.pinned = {"a", "b"};
  config.registry.stall_timeout = absl::Seconds(61);
  Config back;
  const absl::Status status = ParseConfig(config.Dump(), "dump", &back);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(back.Dump(), config.Dump());
  EXPECT_TRUE(absl::StrContains(config.DumpJson(), "\"keepers_cgroup\"")) << config.DumpJson();
  EXPECT_EQ(back.root, config.root);
  EXPECT_EQ(back.image.pinned, config.image.pinned);
}

TEST(CommandLineTest, FlagsOverrideTheFile) {
  const std::string file = absl::StrCat(testing::TempDir(), "/c", getpid(), ".toml");
  ASSERT_TRUE(WriteFileAtomically(file, "root='/file'\nstate='/file-state'\n", 0600).ok());
  auto line = Parse({"--root", "/flag", "--config", file.c_str(), "--cni-bin-dir=/a,/b",
                     "--cni-bin-dir", "/c", "--metrics-address="});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->action, CommandLine::kServe);
  EXPECT_EQ(line->config.root, "/flag");
  EXPECT_EQ(line->config.state, "/file-state");
  EXPECT_EQ(line->config.metrics_address, "");
  EXPECT_EQ(line->config.network.bin_dirs, (std::vector<std::string>{"/a", "/b", "/c"}));
  unlink(file.c_str());
  EXPECT_EQ(Parse({"--config", file.c_str()}).status().code(), absl::StatusCode::kNotFound);
}

TEST(CommandLineTest, TheDefaultHandlerHasToBeThere) {
  const std::string file = absl::StrCat(testing::TempDir(), "/h", getpid(), ".toml");
  ASSERT_TRUE(WriteFileAtomically(file, "[runtime]\ndefault_handler = 'x'\n", 0600).ok());
  EXPECT_EQ(Parse({"--config", file.c_str()}).status().message(),
            "runtime.default_handler: there is no runtime.handlers.x");
  unlink(file.c_str());
}

TEST(CommandLineTest, MistakesAreNamed) {
  EXPECT_EQ(Parse({"--rooot", "/x"}).status().message(), "unknown flag --rooot");
  EXPECT_EQ(Parse({"--root"}).status().message(), "--root lacks its value");
  EXPECT_EQ(Parse({"serve"}).status().message(), "unexpected argument serve");
  EXPECT_EQ(Parse({"--"}).status().message(), "unexpected argument --");
  EXPECT_EQ(Parse({"--version=2"}).status().message(), "--version takes no value");
  EXPECT_EQ(Parse({"--log-level=loud"}).status().message(),
            "--log-level \"loud\" is not debug, info, warning or error");
}

TEST(CommandLineTest, HelpAndVersionAreActions) {
  EXPECT_EQ(Parse({"--help"})->action, CommandLine::kHelp);
  EXPECT_EQ(Parse({"-h"})->action, CommandLine::kHelp);
  EXPECT_EQ(Parse({"--version"})->action, CommandLine::kVersion);
  const std::string help = HelpText();
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.flag.empty()) continue;
    EXPECT_NE(help.find(key.flag), std::string::npos) << key.flag;
  }
}

TEST(FindProgramTest, LooksBesideItself) {
  EXPECT_TRUE(FindProgram("", "config_test").ok());
  EXPECT_EQ(FindProgram("", "no-such").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*FindProgram("/bin/sh", "x"), "/bin/sh");
  EXPECT_FALSE(FindProgram("/no/such", "x").ok());
  EXPECT_EQ(FindProgram("/etc/passwd", "x").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FindProgram("/etc", "x").status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace berth
