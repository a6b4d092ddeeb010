#include "server/images/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/images/image_config.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kA = "sha256:" + std::string(64, 'a');
const std::string kB = "sha256:" + std::string(64, 'b');
const std::string kConfigType = "application/vnd.oci.image.config.v1+json";
const std::string kLayerType = "application/vnd.oci.image.layer.v1.tar+gzip";
const std::string kOciManifest = "application/vnd.oci.image.manifest.v1+json";
const std::string kOciIndex = "application/vnd.oci.image.index.v1+json";

std::string Blob(const std::string& type, const std::string& digest, const std::string& size = "7",
                 const std::string& more = "") {
  return absl::StrCat(R"({"mediaType":")", type, R"(","digest":")", digest, R"(","size":)", size,
                      more, "}");
}
std::string ManifestOf(const std::string& config, const std::string& layers,
                       const std::string& more = "") {
  return absl::StrCat(R"({"schemaVersion":2,"config":)", config, R"(,"layers":[)", layers, "]",
                      more, "}");
}
std::string Refusal(const std::string& document, const std::string& type = kOciManifest) {
  const auto parsed = ParseManifest(document, type);
  return parsed.ok() ? "accepted" : parsed.status().ToString();
}

TEST(Manifest, AnOciManifestIsRead) {
  const auto parsed = ParseManifest(
      ManifestOf(Blob(kConfigType, kA), Blob(kLayerType, kB) + "," + Blob(kLayerType, kA, "0")),
      kOciManifest);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& manifest = std::get<ImageManifest>(*parsed);
  EXPECT_EQ(manifest.config.digest.str(), kA);
  ASSERT_EQ(manifest.layers.size(), 2u);
  EXPECT_EQ(manifest.layers[0].digest.str(), kB);
  EXPECT_EQ(manifest.layers[0].size, 7u);
}

TEST(Manifest, DockersManifestIsRead) {
  EXPECT_EQ(Refusal(ManifestOf(Blob("application/vnd.docker.container.image.v1+json", kA),
                               Blob("application/vnd.docker.image.rootfs.diff.tar.gzip", kB)),
                    "application/vnd.docker.distribution.manifest.v2+json"),
            "accepted");
}

TEST(Manifest, WhatCannotRunIsUnimplemented) {
  EXPECT_THAT(Refusal("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
              HasSubstr("UNIMPLEMENTED: the registry serves a Docker schema 1"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":1})"), HasSubstr("UNIMPLEMENTED: Docker schema 1"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob(kLayerType + "+encrypted", kB))),
              HasSubstr("UNIMPLEMENTED: manifest: layers[0].mediaType: encrypted"));
  EXPECT_THAT(Refusal(ManifestOf(Blob("application/vnd.cncf.helm.config.v1+json", kA), "")),
              HasSubstr("UNIMPLEMENTED: this is an artifact of type \"application/vnd.cncf.helm"));
  EXPECT_THAT(Refusal(ManifestOf(Blob("application/vnd.oci.empty.v1+json", kA), "",
                                 R"(,"artifactType":"text/sbom")")),
              HasSubstr("artifact of type \"text/sbom\""));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob("text/plain", kB))),
              HasSubstr("UNIMPLEMENTED"));
}

TEST(Manifest, RefusalsNameTheField) {
  EXPECT_THAT(Refusal("["), HasSubstr("is no JSON object"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":"2"})"), HasSubstr("schemaVersion"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), "5")),
              HasSubstr("layers[0]: must be an object"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob(kLayerType, "sha256:x"))),
              HasSubstr("layers[0].digest"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob(kLayerType, kB, "-1"))),
              HasSubstr("layers[0].size"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob(kLayerType, kB, "1.5"))),
              HasSubstr("layers[0].size"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), Blob(kLayerType, kB, "1099511627777"))),
              HasSubstr("layers[0].size: 1099511627777 exceeds"));
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA, "4194305"), "")), HasSubstr("config.size"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":2,"config":{},"manifests":[]})"),
              HasSubstr("index and a manifest at once"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":2,"mediaType":")" + kOciIndex + R"(","manifests":[]})"),
              HasSubstr("was announced as"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":2})"), HasSubstr("config: is missing"));
  EXPECT_THAT(Refusal(R"({"schemaVersion":2,"manifests":7})", kOciIndex), HasSubstr("manifests"));
  std::string layers;
  for (int i = 0; i <= kMaxLayers; ++i) {
    absl::StrAppend(&layers, i == 0 ? "" : ",", Blob(kLayerType, kB));
  }
  EXPECT_THAT(Refusal(ManifestOf(Blob(kConfigType, kA), layers)),
              HasSubstr("500 layers exceed 499"));
}

ImageIndex Index(const std::vector<std::string>& platforms) {
  std::string entries;
  for (size_t i = 0; i < platforms.size(); ++i) {
    const std::string digest = absl::StrCat("sha256:", std::string(63, '0'), i);
    absl::StrAppend(&entries, i == 0 ? "" : ",",
                    Blob(kOciManifest, digest, "9",
                         platforms[i].empty() ? "" : R"(,"platform":)" + platforms[i]));
  }
  const auto parsed =
      ParseManifest(absl::StrCat(R"({"schemaVersion":2,"manifests":[)", entries, "]}"), kOciIndex);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return std::get<ImageIndex>(*parsed);
}

TEST(Manifest, TheBestPlatformIsChosen) {
  const std::vector<Platform> host = {{"linux", "amd64", "v3"}, {"linux", "amd64", ""}};
  const auto chosen = [&](const std::vector<std::string>& platforms) {
    const auto descriptor = ChooseManifest(Index(platforms), host);
    return descriptor.ok() ? descriptor->digest.str().substr(70) : descriptor.status().ToString();
  };
  const std::string arm = R"({"os":"linux","architecture":"arm64","variant":"v8"})";
  const std::string amd = R"({"os":"linux","architecture":"amd64"})";
  const std::string amd3 = R"({"os":"linux","architecture":"amd64","variant":"v3"})";
  const std::string amd4 = R"({"os":"linux","architecture":"amd64","variant":"v4"})";
  const std::string windows = R"({"os":"windows","architecture":"amd64"})";
  EXPECT_EQ(chosen({arm, windows, amd}), "2");
  EXPECT_EQ(chosen({amd, amd4, amd3}), "2");
  EXPECT_EQ(chosen({"", amd}), "1");
  EXPECT_EQ(chosen({arm, ""}), "1");
  EXPECT_THAT(chosen({arm, amd4}), HasSubstr("it has: linux/arm64/v8, linux/amd64/v4"));
  EXPECT_TRUE(PlatformMatches({"linux", "arm64", "v8"}, {"linux", "arm64", ""}));
}

TEST(ImageConfig, WhatContainersNeedIsRead) {
  const auto parsed = ParseImageConfig(absl::StrCat(R"({"os":"linux","architecture":"amd64",
    "created":"2024-01-01T00:00:00Z","config":{"User":"1000:10","Env":["A=b"],"Entrypoint":["/e"],
    "Cmd":null,"WorkingDir":"/w","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGINT",
    "Labels":{"k":"v"}},"rootfs":{"type":"layers","diff_ids":[")",
                                                    kA, R"("]}})"),
                                       1);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.user, "1000:10");
  EXPECT_THAT(parsed->config.env, ElementsAre("A=b"));
  EXPECT_THAT(parsed->config.entrypoint, ElementsAre("/e"));
  EXPECT_TRUE(parsed->config.cmd.empty());
  EXPECT_THAT(parsed->config.volumes, ElementsAre("/v"));
  EXPECT_THAT(parsed->config.exposed_ports, ElementsAre("80/tcp"));
  EXPECT_EQ(parsed->config.labels.at("k"), "v");
  EXPECT_THAT(parsed->diff_ids, ElementsAre(DiffId(kA)));
}

TEST(ImageConfig, RefusalsNameTheField) {
  const auto refusal = [](const std::string& document) {
    return std::string(ParseImageConfig(document, 1).status().message());
  };
  const std::string rootfs = R"("rootfs":{"type":"layers","diff_ids":[")" + kA + R"("]})";
  EXPECT_THAT(refusal("7"), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("rootfs: must be an object"));
  EXPECT_THAT(refusal(R"({"rootfs":{"type":"layers","diff_ids":[]}})"),
              HasSubstr("0 entries for the 1 layers"));
  EXPECT_THAT(refusal(R"({"rootfs":{"type":"layers","diff_ids":["x"]}})"),
              HasSubstr("rootfs.diff_ids"));
  EXPECT_THAT(refusal("{\"config\":{\"Env\":\"A\"}," + rootfs + "}"), HasSubstr("config.Env"));
  EXPECT_THAT(refusal("{\"config\":{\"User\":\"a\\u0000b\"}," + rootfs + "}"),
              HasSubstr("config.User: has a NUL"));
  EXPECT_THAT(refusal("{\"config\":{\"Labels\":{\"a\":5}}," + rootfs + "}"),
              HasSubstr("config.Labels"));
}

}  // namespace
}  // namespace berth
