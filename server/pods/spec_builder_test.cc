#include "server/pods/spec_builder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/mount_options.h"

// CRI's deprecated profile strings still come from older clients.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace berth {
namespace {

namespace cri = ::runtime::v1;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class SpecBuilderTest : public testing::Test {
 protected:
  SpecBuilderTest() {
    container_.mutable_metadata()->set_name("c");
    pod_.mutable_metadata()->set_name("p");
    pod_.mutable_metadata()->set_namespace_("ns");
    options()->set_pid(cri::CONTAINER);
    image_.entrypoint = {"/entry"};
    image_.cmd = {"cmd"};
    image_.env = {"PATH=/img", "A=image", "bad"};
    pod_facts_.id = "pod";
    pod_facts_.hostname = "host1";
    pod_facts_.keeper_pid = 77;
    pod_facts_.pod_init_pid = 78;
    pod_facts_.netns_path = "/run/netns/x";
    pod_facts_.hosts_path = "/state/hosts";
    facts_.id = "cid";
    facts_.cgroup_path = "/k/cid";
    host_.devices = [](const std::string& path) -> absl::StatusOr<std::vector<SpecDevice>> {
      if (path == "/dev/fuse") return std::vector<SpecDevice>{{'c', "/dev/fuse", 10, 229}};
      if (path == "/dev/snd") {
        return std::vector<SpecDevice>{{'c', "/dev/snd/a", 116, 1}, {'c', "/dev/snd/b", 116, 2}};
      }
      return absl::NotFoundError(path + " is no device");
    };
    host_.all_devices = []() -> absl::StatusOr<std::vector<SpecDevice>> {
      return std::vector<SpecDevice>{{'b', "/dev/sda", 8, 0}};
    };
    host_.read_profile = [](const std::string& path) -> absl::StatusOr<std::string> {
      if (path == "/profiles/ok") return std::string(R"({"defaultAction": "SCMP_ACT_ALLOW"})");
      if (path == "/profiles/bad") return std::string("{");
      return absl::NotFoundError("open " + path);
    };
    host_.resolve_source = [](const std::string& path) -> absl::StatusOr<std::string> {
      if (path == "/missing") return absl::NotFoundError("resolve /missing");
      return path == "/link" ? "/target" : path;
    };
    host_.existing_source = host_.resolve_source;
  }

  cri::LinuxContainerSecurityContext* context() {
    return container_.mutable_linux()->mutable_security_context();
  }
  cri::NamespaceOption* options() {
    return pod_.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  }
  void MakePrivileged() {
    context()->set_privileged(true);
    pod_.mutable_linux()->mutable_security_context()->set_privileged(true);
  }
  absl::StatusOr<BuiltSpec> Try() {
    return BuildSpec(container_, pod_, image_, pod_facts_, facts_, host_);
  }
  BuiltSpec Built() {
    auto built = Try();
    EXPECT_TRUE(built.ok()) << built.status();
    return built.ok() ? *std::move(built) : BuiltSpec();
  }
  std::string Error() {
    const absl::Status status = Try().status();
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }
  static const SpecMount* MountAt(const Spec& spec, const std::string& destination) {
    const auto it = std::find_if(spec.mounts.begin(), spec.mounts.end(),
                                 [&](const SpecMount& m) { return m.destination == destination; });
    return it == spec.mounts.end() ? nullptr : &*it;
  }
  cri::Mount* AddMount(const std::string& container, const std::string& host) {
    cri::Mount* m = container_.add_mounts();
    m->set_container_path(container);
    m->set_host_path(host);
    return m;
  }

  cri::ContainerConfig container_;
  cri::PodSandboxConfig pod_;
  ImageConfig image_;
  PodFacts pod_facts_;
  ContainerFacts facts_;
  HostFacts host_;
};

TEST_F(SpecBuilderTest, EveryBuiltSpecParsesAndCompiles) {
  const BuiltSpec built = Built();
  CompileInput input;
  input.lowers = {"/l"};
  input.user = built.user;
  EXPECT_TRUE(CompilePlan(built.spec, input).ok());
}

TEST_F(SpecBuilderTest, APrivateMountDoesNotPropagate) {
  HostFacts::Propagation now;
  host_.propagation = [&](const std::string&) { return now; };
  MakePrivileged();
  cri::Mount* m = AddMount("/data", "/host");
  EXPECT_TRUE(Try().ok());
  m->set_propagation(cri::PROPAGATION_HOST_TO_CONTAINER);
  EXPECT_THAT(Error(), HasSubstr("mounts[0]: propagation: /host is not on a shared mount"));
  now.takes = true;  // a slave
  EXPECT_TRUE(Try().ok());
  m->set_propagation(cri::PROPAGATION_BIDIRECTIONAL);
  EXPECT_THAT(Error(), HasSubstr("propagation"));
  now.gives = true;
  EXPECT_TRUE(Try().ok());
}

TEST_F(SpecBuilderTest, ImageVolumesComeFirstAndYieldToMounts) {
  image_.volumes = {"/etc", "/a/b", "//a/", "/data/db", "/dev/shm"};
  AddMount("/data", "/host");
  const Spec spec = Built().spec;
  std::vector<std::string> volumes;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(spec.mounts[i].type, kVolumeType);
    volumes.push_back(spec.mounts[i].destination);
  }
  EXPECT_THAT(volumes, ElementsAre("/etc", "/a", "/a/b", "/dev/shm"));
  EXPECT_NE(spec.mounts[4].type, kVolumeType);
  for (const char* bad : {"relative", "/", "/a/../b"}) {
    image_.volumes = {bad};
    EXPECT_THAT(Error(), HasSubstr("volume"));
  }
}

TEST_F(SpecBuilderTest, CommandAndArgumentsFollowKubernetes) {
  EXPECT_THAT(Built().spec.process->args, ElementsAre("/entry", "cmd"));
  container_.add_args("x");
  EXPECT_THAT(Built().spec.process->args, ElementsAre("/entry", "x"));
  container_.add_command("/cmd");
  EXPECT_THAT(Built().spec.process->args, ElementsAre("/cmd", "x"));
  container_.clear_args();
  EXPECT_THAT(Built().spec.process->args, ElementsAre("/cmd"));
  container_.clear_command();
  image_.entrypoint.clear();
  image_.cmd.clear();
  EXPECT_THAT(Error(), HasSubstr("command:"));
}

TEST_F(SpecBuilderTest, EnvironmentMergesInPlace) {
  auto* e = container_.add_envs();
  e->set_key("A");
  e->set_value("cri=1");
  container_.set_tty(true);
  EXPECT_THAT(Built().spec.process->env,
              ElementsAre("PATH=/img", "A=cri=1", "TERM=xterm", "HOSTNAME=host1"));
  image_.env.clear();
  EXPECT_THAT(Built().spec.process->env[0], HasSubstr("PATH=/usr/local/sbin"));
  e->set_key("A=B");
  EXPECT_THAT(Error(), HasSubstr("envs[0].key"));
}

TEST_F(SpecBuilderTest, WorkingDirectories) {
  EXPECT_EQ(Built().spec.process->cwd, "/");
  image_.working_dir = "/img";
  EXPECT_EQ(Built().spec.process->cwd, "/img");
  container_.set_working_dir("/cri");
  EXPECT_EQ(Built().spec.process->cwd, "/cri");
  container_.set_working_dir("cri");
  EXPECT_THAT(Error(), HasSubstr("working_dir"));
}

TEST_F(SpecBuilderTest, UsersOfTheImageAndOfThePod) {
  image_.user = "www:33";
  EXPECT_EQ(Built().user.user, "www");
  EXPECT_EQ(Built().user.gid, 33u);
  image_.user = "5";
  EXPECT_EQ(Built().user.uid, 5u);
  EXPECT_EQ(Built().user.gid, std::nullopt);
  context()->mutable_run_as_group()->set_value(7);
  EXPECT_EQ(Error(), "linux.security_context.run_as_group: needs run_as_user or run_as_username");
  context()->set_run_as_username("joe");
  EXPECT_EQ(Built().user.user, "joe");
  context()->mutable_run_as_user()->set_value(1000);
  context()->add_supplemental_groups(9);
  context()->set_supplemental_groups_policy(cri::Strict);
  EXPECT_EQ(Built().user.uid, 1000u);
  EXPECT_EQ(Built().user.gid, 7u);
  EXPECT_TRUE(Built().user.strict_groups);
  EXPECT_THAT(Built().spec.process->user.additional_gids, ElementsAre(9));
  context()->mutable_run_as_user()->set_value(-1);
  EXPECT_THAT(Error(), HasSubstr("run_as_user: -1"));
}

TEST_F(SpecBuilderTest, NumbersOfUsersAreNoNamesAndHaveARange) {
  for (const char* user : {"4294967295", "4294967296", "5:4294967295", "99999999999999999999"}) {
    image_.user = user;
    EXPECT_THAT(Error(), HasSubstr("image: user or group")) << user;
  }
  image_.user = "4294967294:4294967294";
  EXPECT_EQ(Built().user.uid, 4294967294u);
  EXPECT_EQ(Built().user.gid, 4294967294u);
  context()->set_run_as_username("1000");
  EXPECT_EQ(Built().user.uid, 1000u);
  EXPECT_EQ(Built().user.user, "");
  context()->set_run_as_username("4294967295");
  EXPECT_EQ(Error(),
            "linux.security_context.run_as_username: user or group 4294967295 is out of range");
}

TEST_F(SpecBuilderTest, CapabilitiesAddDropAndAll) {
  EXPECT_EQ(Built().spec.process->capabilities->bounding, DefaultCapabilities());
  auto* c = context()->mutable_capabilities();
  c->add_drop_capabilities("ALL");
  c->add_add_capabilities("NET_ADMIN");
  EXPECT_EQ(Built().spec.process->capabilities->bounding, CapabilityBit(12));
  c->clear_drop_capabilities();
  c->add_add_capabilities("ALL");
  c->add_drop_capabilities("CAP_CHOWN");
  EXPECT_EQ(Built().spec.process->capabilities->bounding, kAllCapabilities & ~uint64_t{1});
  c->add_add_ambient_capabilities("KILL");
  EXPECT_EQ(Built().spec.process->capabilities->ambient, CapabilityBit(5));
  EXPECT_EQ(Built().spec.process->capabilities->inheritable, CapabilityBit(5));
  c->add_drop_capabilities("FLY");
  EXPECT_EQ(Error(),
            "linux.security_context.capabilities.drop_capabilities[1]: unknown capability \"FLY\"");
}

TEST_F(SpecBuilderTest, PrivilegedNeedsAPrivilegedPod) {
  context()->set_privileged(true);
  EXPECT_THAT(Error(), HasSubstr("privileged"));
  MakePrivileged();
  context()->add_masked_paths("/proc/kcore");
  context()->mutable_seccomp();  // RuntimeDefault
  const BuiltSpec built = Built();
  EXPECT_EQ(built.spec.process->capabilities->bounding, kAllCapabilities);
  EXPECT_EQ(built.spec.linux_.seccomp, nullptr);
  EXPECT_TRUE(built.spec.linux_.masked_paths.empty());
  EXPECT_EQ(built.spec.linux_.devices.size(), 1u);
  EXPECT_THAT(MountAt(built.spec, "/sys")->options, Contains("rw"));
  EXPECT_EQ(built.spec.Namespace(NamespaceKind::kCgroup), nullptr);
}

TEST_F(SpecBuilderTest, SeccompProfiles) {
  EXPECT_EQ(Built().spec.linux_.seccomp, nullptr);
  auto* profile = context()->mutable_seccomp();
  EXPECT_EQ(Built().spec.linux_.seccomp, DefaultSeccompProfile(DefaultCapabilities()));
  profile->set_profile_type(cri::SecurityProfile::Unconfined);
  EXPECT_EQ(Built().spec.linux_.seccomp, nullptr);
  profile->set_profile_type(cri::SecurityProfile::Localhost);
  EXPECT_EQ(Error(), "linux.security_context.seccomp.localhost_ref: missing");
  profile->set_localhost_ref("/profiles/ok");
  EXPECT_EQ(Built().spec.linux_.seccomp->default_action, SeccompAction::kAllow);
  profile->set_localhost_ref("/profiles/bad");
  EXPECT_THAT(Error(), HasSubstr("seccomp profile /profiles/bad: not JSON"));
  profile->set_localhost_ref("/profiles/none");
  EXPECT_THAT(Error(), HasSubstr("localhost_ref: open"));
  profile->set_localhost_ref("relative");
  EXPECT_THAT(Error(), HasSubstr("not absolute"));
  profile->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  EXPECT_THAT(Error(), HasSubstr("is for profile_type Localhost"));
}

TEST_F(SpecBuilderTest, PodFilesGiveWayToKubelets) {
  EXPECT_EQ(MountAt(Built().spec, "/etc/hosts")->source, "/state/hosts");
  EXPECT_EQ(MountAt(Built().spec, "/etc/hostname"), nullptr);
  AddMount("/etc/hosts", "/kubelet/hosts");
  EXPECT_EQ(MountAt(Built().spec, "/etc/hosts")->source, "/kubelet/hosts");
}

TEST_F(SpecBuilderTest, MountsAreOrderedAndChecked) {
  AddMount("/a/b/c", "/link");
  auto* m = AddMount("//a/./b/", "/x");
  m->set_readonly(true);
  m->set_recursive_read_only(true);
  const Spec spec = Built().spec;
  ASSERT_GE(spec.mounts.size(), 2u);
  EXPECT_EQ(spec.mounts[spec.mounts.size() - 2].destination, "/a/b");
  EXPECT_THAT(spec.mounts[spec.mounts.size() - 2].options, Contains("rro"));
  EXPECT_EQ(spec.mounts.back().source, "/target");
  m->set_readonly(false);
  EXPECT_EQ(Error(), "mounts[1]: recursive_read_only: needs readonly");
}

TEST_F(SpecBuilderTest, BadMountsNameTheirField) {
  struct {
    const char *container, *host, *message;
  } cases[] = {
      {"a", "/x", "container_path: \"a\""}, {"/a/../b", "/x", "container_path: \"/a/../b\""},
      {"/", "/x", "container_path"},        {"/a", "", "host_path: missing"},
      {"/a", "x", "host_path: \"x\""},      {"/a", "/missing", "host_path: resolve /missing"}};
  for (const auto& c : cases) {
    container_.clear_mounts();
    AddMount(c.container, c.host);
    EXPECT_THAT(Error(), HasSubstr(absl::StrCat("mounts[0]: ", c.message)));
  }
  container_.clear_mounts();
  AddMount("/a", "/x")->set_propagation(cri::PROPAGATION_BIDIRECTIONAL);
  EXPECT_THAT(Error(), HasSubstr("mounts[0]: propagation"));
  MakePrivileged();
  EXPECT_THAT(MountAt(Built().spec, "/a")->options, Contains("rshared"));
  AddMount("/a/", "/y");
  EXPECT_THAT(Error(), HasSubstr("mounted twice"));
}

TEST_F(SpecBuilderTest, Namespaces) {
  Spec spec = Built().spec;
  EXPECT_EQ(spec.Namespace(NamespaceKind::kPid)->path, "");
  EXPECT_EQ(spec.Namespace(NamespaceKind::kNetwork)->path, "/run/netns/x");
  EXPECT_EQ(spec.Namespace(NamespaceKind::kIpc)->path, "/proc/77/ns/ipc");
  EXPECT_EQ(MountAt(spec, "/dev/shm")->type, "berth.pod-shm");
  options()->set_pid(cri::POD);
  EXPECT_EQ(Built().spec.Namespace(NamespaceKind::kPid)->path, "/proc/78/ns/pid");
  options()->set_pid(cri::NODE);
  options()->set_network(cri::NODE);
  options()->set_ipc(cri::NODE);
  spec = Built().spec;
  EXPECT_EQ(spec.Namespace(NamespaceKind::kPid), nullptr);
  EXPECT_EQ(spec.Namespace(NamespaceKind::kNetwork), nullptr);
  EXPECT_EQ(MountAt(spec, "/dev/shm")->source, "/dev/shm");
  options()->set_pid(cri::CONTAINER);
  context()->mutable_namespace_options()->set_pid(cri::POD);
  EXPECT_THAT(Error(), HasSubstr("shares none"));
  context()->mutable_namespace_options()->set_pid(cri::TARGET);
  EXPECT_THAT(Error(), HasSubstr("target_id"));
  facts_.pid_target = "other";
  facts_.pid_target_pid = 79;
  EXPECT_EQ(Built().spec.Namespace(NamespaceKind::kPid)->path, "/proc/79/ns/pid");
  EXPECT_EQ(Built().joined_pid, PidMode::kTarget);
  EXPECT_EQ(Built().pid_target, "other");
}

TEST_F(SpecBuilderTest, SelinuxOptionsMeanNothingWithoutSelinux) {
  context()->mutable_selinux_options()->set_type("spc_t");
  EXPECT_TRUE(Try().ok());
  host_.selinux = true;
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(SpecBuilderTest, DevicesAndTheirRules) {
  auto* d = container_.add_devices();
  d->set_container_path("/dev/sound");
  d->set_host_path("/dev/snd");
  d->set_permissions("rw");
  const Spec spec = Built().spec;
  ASSERT_EQ(spec.linux_.devices.size(), 2u);
  EXPECT_EQ(spec.linux_.devices[1].path, "/dev/sound/b");
  EXPECT_EQ(spec.linux_.resources.devices->back().access, "rw");
  d->set_permissions("x");
  EXPECT_THAT(Error(), HasSubstr("devices[0]: permissions"));
  d->set_permissions("r");
  d->set_host_path("/dev/none");
  EXPECT_THAT(Error(), HasSubstr("devices[0]: host_path"));
}

TEST_F(SpecBuilderTest, ResourcesAndTheirContradictions) {
  auto* r = container_.mutable_linux()->mutable_resources();
  r->set_cpu_shares(512);
  r->set_memory_limit_in_bytes(1 << 20);
  r->set_oom_score_adj(999);
  const Spec spec = Built().spec;
  EXPECT_EQ(spec.linux_.resources.cpu_shares, 512u);
  EXPECT_EQ(spec.linux_.resources.cpu_quota, std::nullopt);
  EXPECT_EQ(spec.process->oom_score_adj, 999);
  r->set_memory_swap_limit_in_bytes(5);
  EXPECT_THAT(Error(), HasSubstr("linux.resources.memory_swap_limit_in_bytes"));
  r->set_memory_swap_limit_in_bytes(0);
  r->set_oom_score_adj(2000);
  EXPECT_THAT(Error(), HasSubstr("oom_score_adj"));
}

TEST_F(SpecBuilderTest, ResourcesWithANulAreRefused) {
  const std::string text("0\0-7", 4);
  cri::LinuxContainerResources resources;
  const auto error = [&] {
    const std::string message(ResourcesFromCri(resources, "r").status().message());
    resources.Clear();
    return message;
  };
  resources.set_cpuset_cpus(text);
  EXPECT_EQ(error(), "r.cpuset_cpus: has a NUL byte");
  resources.set_cpuset_mems(text);
  EXPECT_EQ(error(), "r.cpuset_mems: has a NUL byte");
  resources.add_hugepage_limits()->set_page_size(text);
  EXPECT_EQ(error(), "r.hugepage_limits: has a NUL byte");
  (*resources.mutable_unified())["memory.high"] = text;
  EXPECT_EQ(error(), "r.unified: has a NUL byte");
  (*resources.mutable_unified())[text] = "1";
  EXPECT_EQ(error(), "r.unified: has a NUL byte");
}

TEST_F(SpecBuilderTest, WhatIsNotServedIsRefused) {
  options()->mutable_userns_options()->set_mode(cri::NODE);
  EXPECT_TRUE(Try().ok());
  // Of a pod that has none.
  options()->mutable_userns_options()->set_mode(cri::POD);
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kInvalidArgument);
  options()->clear_userns_options();
}

TEST_F(SpecBuilderTest, WithoutAppArmorAskingForItIsRefused) {
  EXPECT_EQ(Built().spec.process->apparmor_profile, "");
  context()->mutable_apparmor();  // RuntimeDefault
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kFailedPrecondition);
  context()->mutable_apparmor()->set_profile_type(cri::SecurityProfile::Localhost);
  context()->mutable_apparmor()->set_localhost_ref("x");
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kFailedPrecondition);
  context()->mutable_apparmor()->clear_localhost_ref();
  context()->mutable_apparmor()->set_profile_type(cri::SecurityProfile::Unconfined);
  EXPECT_EQ(Built().spec.process->apparmor_profile, "");
  context()->clear_apparmor();
  context()->set_apparmor_profile("runtime/default");
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SpecBuilderTest, AppArmorProfilesAreTakenFromEitherField) {
  host_.apparmor = host_.apparmor_default = true;
  host_.apparmor_profile = [](const std::string& name) {
    return name == "mine" ? absl::OkStatus() : absl::NotFoundError(name + " is not loaded");
  };
  const auto profile = [this] { return Built().spec.process->apparmor_profile; };
  EXPECT_EQ(profile(), "berth-default");  // nothing was said
  for (const auto& [old, want] : std::vector<std::pair<std::string, std::string>>{
           {"runtime/default", "berth-default"}, {"unconfined", ""}, {"localhost/mine", "mine"}}) {
    context()->set_apparmor_profile(old);
    EXPECT_EQ(profile(), want) << old;
  }
  context()->set_apparmor_profile("localhost/other");
  EXPECT_THAT(std::string(Try().status().message()), HasSubstr("apparmor_profile: other"));
  context()->set_apparmor_profile("nonsense");
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kInvalidArgument);
  context()->clear_apparmor_profile();

  context()->mutable_apparmor()->set_profile_type(cri::SecurityProfile::Localhost);
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kInvalidArgument);
  context()->mutable_apparmor()->set_localhost_ref("mine");
  EXPECT_EQ(profile(), "mine");
  // A privileged container is unconfined unless it names a profile.
  MakePrivileged();
  EXPECT_EQ(profile(), "mine");
  context()->mutable_apparmor()->clear_localhost_ref();
  context()->mutable_apparmor()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  EXPECT_EQ(profile(), "");
  host_.apparmor_default = false;
  context()->set_privileged(false);
  EXPECT_EQ(Try().status().code(), absl::StatusCode::kFailedPrecondition);
}

class UserNamespaceSpecTest : public SpecBuilderTest {
 protected:
  UserNamespaceSpecTest() {
    auto* options = pod_.mutable_linux()
                        ->mutable_security_context()
                        ->mutable_namespace_options()
                        ->mutable_userns_options();
    options->set_mode(cri::POD);
    Map(options->mutable_uids(), 65536);
    Map(options->mutable_gids(), 65536);
  }
  static void Map(google::protobuf::RepeatedPtrField<cri::IDMapping>* list, uint32_t length) {
    cri::IDMapping* m = list->Add();
    m->set_host_id(100000);
    m->set_length(length);
  }
};

TEST_F(UserNamespaceSpecTest, ItHasThePodsMappings) {
  const Spec spec = Built().spec;
  ASSERT_NE(spec.Namespace(NamespaceKind::kUser), nullptr);
  ASSERT_EQ(spec.linux_.uid_mappings.size(), 1u);
  EXPECT_EQ(spec.linux_.uid_mappings[0].host_id, 100000u);
  EXPECT_THAT(MountAt(spec, "/dev/pts")->options, Contains("gid=5"));
}

TEST_F(UserNamespaceSpecTest, TheTtyGroupIsLeftOutWhereItIsNotMapped) {
  auto* options = pod_.mutable_linux()
                      ->mutable_security_context()
                      ->mutable_namespace_options()
                      ->mutable_userns_options();
  options->mutable_gids(0)->set_length(1);
  const Spec spec = Built().spec;
  EXPECT_THAT(MountAt(spec, "/dev/pts")->options, Not(Contains("gid=5")));
}

TEST_F(UserNamespaceSpecTest, VolumesKeepTheirMappings) {
  cri::Mount* m = container_.add_mounts();
  m->set_host_path("/srv");
  m->set_container_path("/data");
  Map(m->mutable_uidmappings(), 10);
  EXPECT_EQ(Error(), "mounts[0]: gidMappings: missing");
  Map(m->mutable_gidmappings(), 10);
  EXPECT_EQ(Built().spec.mounts.back().gid_mappings.at(0).size, 10u);
  m->mutable_gidmappings(0)->set_length(0);
  EXPECT_EQ(Error(), "mounts[0]: gidMappings[0].length: is 0");
}

TEST_F(SpecBuilderTest, MountOptionsAreThoseOfKubernetes) {
  cri::Mount* m = container_.add_mounts();
  m->set_host_path("/srv");
  m->set_container_path("/data");
  m->add_mount_options("noexec");
  EXPECT_THAT(Built().spec.mounts.back().options, Contains("noexec"));
  m->add_mount_options("dev");
  EXPECT_EQ(Error(), "mounts[0]: mount_options[1]: \"dev\" is none of noexec, nodev, nosuid");
}

TEST_F(SpecBuilderTest, ImageVolumesAreReadOnlyLayers) {
  cri::Mount* m = container_.add_mounts();
  m->set_container_path("/data");
  m->mutable_image()->set_image("sha256:1");
  m->set_image_sub_path("./etc//x");
  const SpecMount mount = Built().spec.mounts.back();
  EXPECT_EQ(mount.type, "berth.layers");
  EXPECT_EQ(mount.source, "sha256:1");
  EXPECT_THAT(mount.options, ElementsAre("ro", "noexec", "berth.subpath=etc/x"));
  m->set_image_sub_path("../x");
  EXPECT_EQ(Error(), "mounts[0]: image_sub_path: \"../x\" is no relative path below the image");
  m->set_image_sub_path("");
  m->set_host_path("/srv");
  EXPECT_EQ(Error(), "mounts[0]: host_path: contradicts image");
  m->clear_image();
  m->set_image_sub_path("x");
  EXPECT_EQ(Error(), "mounts[0]: image_sub_path: needs an image");
}

TEST_F(SpecBuilderTest, CdiEditsReplaceWhatStandsInTheirPlace) {
  CdiEdits edits;
  edits.env = {"A=cdi", "B=cdi"};
  edits.device_nodes.push_back({.path = "/dev/mine", .host_path = "/dev/fuse", .permissions = "r"});
  edits.device_nodes.push_back({.path = "/dev/said", .type = 'b', .major = 7, .minor = 1});
  edits.mounts.push_back(
      {.host_path = "/link", .container_path = "/lib/x", .options = {"ro", "bind"}});
  edits.additional_gids = {44};
  facts_.cdi_edits = {edits};
  container_.add_devices()->set_host_path("/dev/fuse");
  container_.mutable_devices(0)->set_container_path("/dev/mine");
  container_.mutable_devices(0)->set_permissions("rw");
  const Spec spec = Built().spec;
  EXPECT_THAT(spec.process->env, Contains("A=cdi"));
  EXPECT_THAT(spec.process->env, Not(Contains("A=image")));
  EXPECT_THAT(spec.process->user.additional_gids, ElementsAre(44));
  EXPECT_EQ(spec.mounts.back().source, "/target");
  ASSERT_EQ(spec.linux_.devices.size(), 2u);
  EXPECT_EQ(spec.linux_.devices[0].path, "/dev/mine");
  EXPECT_EQ(spec.linux_.devices[1].major, 7);
  const std::vector<DeviceRule>& rules = *spec.linux_.resources.devices;
  EXPECT_EQ(rules.back().major, 7);
  EXPECT_EQ(rules.back().access, "rwm");
  facts_.cdi_edits[0].device_nodes[0].host_path = "/dev/none";
  EXPECT_THAT(Error(), HasSubstr("CDI_devices: device node /dev/mine: /dev/none is no device"));
}

TEST_F(SpecBuilderTest, CdiDevicesComeByFieldAndByAnnotation) {
  container_.add_cdi_devices()->set_name("v/c=1");
  (*container_.mutable_annotations())["cdi.k8s.io/x"] = "v/c=1,v/c=2";
  (*container_.mutable_annotations())["other"] = "v/c=3";
  EXPECT_THAT(CdiDevicesOf(container_), ElementsAre("v/c=1", "v/c=2"));
}

TEST_F(SpecBuilderTest, ExecHasTheContainersProcess) {
  context()->mutable_run_as_user()->set_value(1000);
  const SpecProcess exec = BuildExecProcess(Built().spec, {"ps"}, true);
  EXPECT_THAT(exec.args, ElementsAre("ps"));
  EXPECT_THAT(exec.env, Contains("TERM=xterm"));
  EXPECT_EQ(exec.user.uid, 1000u);
  EXPECT_THAT(BuildExecProcess(Built().spec, {"ps"}, false).env, Not(Contains("TERM=xterm")));
}

TEST_F(SpecBuilderTest, AnnotationsSayWhoseItIs) {
  const auto annotations = Built().spec.annotations;
  EXPECT_EQ(annotations.at("io.kubernetes.cri.sandbox-namespace"), "ns");
  EXPECT_EQ(annotations.at("io.kubernetes.cri.container-type"), "container");
}

}  // namespace
}  // namespace berth
