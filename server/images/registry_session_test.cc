#include "server/images/registry_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/images/digest.h"
#include "server/images/test_http_server.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Request = TestHttpServer::Request;
using Reply = TestHttpServer::Reply;

const std::string kManifest = R"({"schemaVersion":2})";

class RegistrySessionTest : public ::testing::Test {
 protected:
  // A session with the repository a/b of the registry at `server`, tag t.
  RegistrySession::Options OptionsFor(const TestHttpServer& server) {
    RegistrySession::Options options;
    options.reference.registry = server.host();
    options.reference.repository = "a/b";
    options.reference.tag = "t";
    options.endpoints.push_back(EndpointOf(server, true));
    options.retry_pause = absl::Milliseconds(1);
    return options;
  }
  RegistryEndpoint EndpointOf(const TestHttpServer& server, bool upstream) {
    RegistryEndpoint endpoint;
    endpoint.base = server.url() + "/v2";
    endpoint.host = server.host();
    endpoint.upstream = upstream;
    return endpoint;
  }
  absl::Status Fetch(RegistrySession& session, const std::string& content, std::string* got) {
    return session.FetchBlob(Digest(DigestOf("sha256", content)), content.size(),
                             [got](absl::string_view data) {
                               got->append(data.data(), data.size());
                               return absl::OkStatus();
                             });
  }
  Cancellation cancellation_;
};

Reply Ok(const std::string& body, const std::string& type = "text/plain") {
  return Reply{.headers = {{"Content-Type", type}}, .body = body};
}

TEST_F(RegistrySessionTest, AManifestByTagHasOurDigestAndItsMediaType) {
  TestHttpServer server([](const Request& request) {
    return request.target == "/v2/a/b/manifests/t" ? Ok(kManifest, "Application/X+json; charset=u")
                                                   : Reply{.code = 404};
  });
  RegistrySession session(OptionsFor(server), &cancellation_);
  const auto manifest = session.GetManifest();
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->bytes, kManifest);
  EXPECT_EQ(manifest->media_type, "application/x+json");
  EXPECT_EQ(manifest->digest.str(), DigestOf("sha256", kManifest));
  EXPECT_THAT(server.requests()[0].Header("accept"), HasSubstr("oci.image.index.v1+json"));
}

TEST_F(RegistrySessionTest, WrongDigestsOfManifestsAreDataLoss) {
  TestHttpServer server([](const Request&) {
    Reply reply = Ok(kManifest);
    reply.headers.emplace_back("Docker-Content-Digest", DigestOf("sha256", "other"));
    return reply;
  });
  RegistrySession session(OptionsFor(server), &cancellation_);
  EXPECT_TRUE(absl::IsDataLoss(session.GetManifest().status()));
  TestHttpServer plain([](const Request&) { return Ok(kManifest); });
  RegistrySession other(OptionsFor(plain), &cancellation_);
  EXPECT_TRUE(absl::IsDataLoss(other.GetManifest(Digest(DigestOf("sha256", "x"))).status()));
  EXPECT_TRUE(other.GetManifest(Digest(DigestOf("sha512", kManifest))).ok());
}

TEST_F(RegistrySessionTest, AHugeManifestIsRefused) {
  TestHttpServer server([](const Request&) { return Ok(std::string((4u << 20) + 1, 'x')); });
  RegistrySession session(OptionsFor(server), &cancellation_);
  const absl::Status status = session.GetManifest().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("exceeds 4194304 bytes"));
}

TEST_F(RegistrySessionTest, BasicCredentialsAnswerAChallenge) {
  TestHttpServer server([](const Request& request) {
    if (request.Header("authorization") == "Basic dTpw") return Ok(kManifest);
    return Reply{.code = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
  });
  RegistrySession::Options options = OptionsFor(server);
  options.auth.auth = "dTpw";  // u:p
  RegistrySession session(options, &cancellation_);
  EXPECT_TRUE(session.GetManifest().ok());
  EXPECT_TRUE(session.GetManifest().ok());
  EXPECT_EQ(server.requests().size(), 3u);  // the second is sent with the header at once
  RegistrySession anonymous(OptionsFor(server), &cancellation_);
  EXPECT_TRUE(absl::IsUnauthenticated(anonymous.GetManifest().status()));
}

TEST_F(RegistrySessionTest, ATokenIsFetchedOnceAndNeverShown) {
  TestHttpServer realm([](const Request& request) {
    if (request.Header("authorization") != "Basic dTpw") return Reply{.code = 403};
    return Ok(R"({"access_token":"secret-token","expires_in":300})");
  });
  TestHttpServer server([&](const Request& request) {
    if (request.Header("authorization") == "Bearer secret-token") {
      return absl::StrContains(request.target, "/manifests/")
                 ? Ok(kManifest)
                 : Reply{.code = 403, .body = R"({"errors":[{"code":"DENIED"}]})"};
    }
    return Reply{.code = 401,
                 .headers = {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"", realm.url(),
                                                               "/token?x=1\",service=\"s v\"")}}};
  });
  RegistrySession::Options options = OptionsFor(server);
  options.auth.username = "u";
  options.auth.password = "p";
  RegistrySession session(options, &cancellation_);
  ASSERT_TRUE(session.GetManifest().ok());
  ASSERT_TRUE(session.GetManifest().ok());
  ASSERT_EQ(realm.requests().size(), 1u);
  EXPECT_EQ(realm.requests()[0].target, "/token?x=1&service=s%20v&scope=repository%3Aa%2Fb%3Apull");
  std::string got;
  const absl::Status denied = Fetch(session, "content", &got);
  EXPECT_TRUE(absl::IsPermissionDenied(denied)) << denied;
  EXPECT_THAT(std::string(denied.message()), HasSubstr("HTTP 403 (DENIED)"));
  EXPECT_THAT(std::string(denied.message()), Not(HasSubstr("secret")));
  options.auth.password = "wrong";
  RegistrySession refused(options, &cancellation_);
  const absl::Status status = refused.GetManifest().status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("x=1")));
}

TEST_F(RegistrySessionTest, AnIdentityTokenGoesByOAuth2) {
  TestHttpServer realm([](const Request& request) {
    if (request.method != "POST" || !absl::StrContains(request.body, "refresh_token=id%2Btoken") ||
        !absl::StrContains(request.body, "grant_type=refresh_token")) {
      return Reply{.code = 401};
    }
    return Ok(R"({"access_token":"t"})");
  });
  TestHttpServer server([&](const Request& request) {
    if (request.Header("authorization") == "Bearer t") return Ok(kManifest);
    return Reply{.code = 401,
                 .headers = {{"WWW-Authenticate", "Bearer realm=\"" + realm.url() + "\""}}};
  });
  RegistrySession::Options options = OptionsFor(server);
  options.auth.identity_token = "id+token";
  RegistrySession session(options, &cancellation_);
  EXPECT_TRUE(session.GetManifest().ok());
}

TEST_F(RegistrySessionTest, ARegistryTokenIsUsedAsItIs) {
  TestHttpServer server([](const Request& request) {
    if (request.Header("authorization") == "Bearer given") return Ok(kManifest);
    return Reply{.code = 401,
                 .headers = {{"WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/\""}}};
  });
  RegistrySession::Options options = OptionsFor(server);
  options.auth.registry_token = "given";
  RegistrySession session(options, &cancellation_);
  EXPECT_TRUE(session.GetManifest().ok());
}

TEST_F(RegistrySessionTest, ARedirectToAnotherOriginCarriesNoAuthorization) {
  const std::string content = "layer bytes";
  TestHttpServer storage([&](const Request&) { return Ok(content); });
  TestHttpServer server([&](const Request& request) {
    if (request.Header("authorization").empty()) {
      return Reply{.code = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
    }
    return Reply{.code = 307, .headers = {{"Location", storage.url() + "/data?signature=s3cret"}}};
  });
  RegistrySession::Options options = OptionsFor(server);
  options.auth.username = "u";
  options.endpoints[0].headers.emplace_back("X-Own", "1");
  RegistrySession session(options, &cancellation_);
  std::string got;
  ASSERT_TRUE(Fetch(session, content, &got).ok());
  EXPECT_EQ(got, content);
  ASSERT_EQ(storage.requests().size(), 1u);
  EXPECT_EQ(storage.requests()[0].target, "/data?signature=s3cret");
  EXPECT_EQ(storage.requests()[0].Header("authorization"), "");
  EXPECT_EQ(storage.requests()[0].Header("x-own"), "");
  EXPECT_EQ(server.requests()[1].Header("x-own"), "1");
}

TEST_F(RegistrySessionTest, RedirectsEnd) {
  TestHttpServer server(
      [](const Request&) { return Reply{.code = 302, .headers = {{"Location", "/again"}}}; });
  RegistrySession session(OptionsFor(server), &cancellation_);
  EXPECT_THAT(std::string(session.GetManifest().status().message()),
              HasSubstr("more than 5 redirects"));
  EXPECT_EQ(server.requests().size(), 6u);
  TestHttpServer file([](const Request&) {
    return Reply{.code = 302, .headers = {{"Location", "file:///etc/passwd"}}};
  });
  RegistrySession other(OptionsFor(file), &cancellation_);
  EXPECT_THAT(std::string(other.GetManifest().status().message()),
              HasSubstr("no http or https URL"));
}

TEST_F(RegistrySessionTest, TooManyRequestsAndServerErrorsAreRetried) {
  std::atomic<int> count{0};
  TestHttpServer server([&](const Request&) {
    switch (count++) {
      case 0:
        return Reply{.code = 429, .headers = {{"Retry-After", "0"}}};
      case 1:
        return Reply{.code = 503};
      case 2:
        return Reply{.code = 200, .body = kManifest, .cut = 3};
      default:
        return Ok(kManifest);
    }
  });
  RegistrySession session(OptionsFor(server), &cancellation_);
  const auto manifest = session.GetManifest();
  EXPECT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(count, 4);
}

TEST_F(RegistrySessionTest, RetriesAreBoundedAndNotFoundIsFinal) {
  TestHttpServer busy([](const Request&) { return Reply{.code = 429}; });
  RegistrySession session(OptionsFor(busy), &cancellation_);
  EXPECT_TRUE(absl::IsResourceExhausted(session.GetManifest().status()));
  EXPECT_EQ(busy.requests().size(), 5u);
  TestHttpServer missing([](const Request&) { return Reply{.code = 404}; });
  RegistrySession other(OptionsFor(missing), &cancellation_);
  EXPECT_TRUE(absl::IsNotFound(other.GetManifest().status()));
  EXPECT_EQ(missing.requests().size(), 1u);
}

TEST_F(RegistrySessionTest, ATruncatedBlobIsResumedByRange) {
  std::string content;
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&content, i, ",");
  TestHttpServer server([&](const Request& request) {
    const std::string range = request.Header("range");
    if (range.empty()) return Reply{.code = 200, .body = content, .cut = 40000};
    size_t start = std::stoul(range.substr(6));
    Reply reply{.code = 206,
                .headers = {{"Content-Range", absl::StrCat("bytes ", start, "-", content.size() - 1,
                                                           "/", content.size())}},
                .body = content.substr(start)};
    if (start < 80000) reply.cut = 30000;
    return reply;
  });
  RegistrySession session(OptionsFor(server), &cancellation_);
  std::string got;
  const absl::Status status = Fetch(session, content, &got);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, content);
  EXPECT_GE(server.requests().size(), 3u);
}

TEST_F(RegistrySessionTest, AServerWithoutRangesIsReadAgainFromTheStart) {
  const std::string content(100000, 'z');
  std::atomic<int> count{0};
  TestHttpServer server([&](const Request&) {
    Reply reply = Ok(content);
    if (count++ == 0) reply.cut = 60000;
    return reply;
  });
  RegistrySession session(OptionsFor(server), &cancellation_);
  std::string got;
  ASSERT_TRUE(Fetch(session, content, &got).ok());
  EXPECT_EQ(got, content);
}

TEST_F(RegistrySessionTest, BlobsOfWrongSizeOrContentAreDataLoss) {
  const std::string content(1000, 'a');
  std::string got;
  TestHttpServer longer([&](const Request&) { return Ok(content + "b"); });
  RegistrySession one(OptionsFor(longer), &cancellation_);
  EXPECT_TRUE(absl::IsDataLoss(Fetch(one, content, &got)));
  EXPECT_TRUE(got.empty());
  TestHttpServer shorter([&](const Request&) { return Ok("a"); });
  RegistrySession two(OptionsFor(shorter), &cancellation_);
  EXPECT_TRUE(absl::IsDataLoss(Fetch(two, content, &got)));
  TestHttpServer changed([&](const Request&) { return Ok(std::string(1000, 'b')); });
  RegistrySession three(OptionsFor(changed), &cancellation_);
  const absl::Status status = Fetch(three, content, &got);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("content has digest sha256:"));
  EXPECT_FALSE(three.MayRetryElsewhere());
}

TEST_F(RegistrySessionTest, AStalledTransferEndsAndIsResumed) {
  const std::string content(50000, 's');
  std::atomic<int> count{0};
  TestHttpServer server([&](const Request& request) {
    Reply reply = Ok(content);
    if (count++ == 0) {
      reply.cut = 1000;
      reply.stall = true;
    }
    return reply;
  });
  RegistrySession::Options options = OptionsFor(server);
  options.stall_timeout = absl::Milliseconds(100);
  RegistrySession session(options, &cancellation_);
  std::string got;
  ASSERT_TRUE(Fetch(session, content, &got).ok());
  EXPECT_EQ(got, content);
}

TEST_F(RegistrySessionTest, ASinksErrorIsFinalAndItsOwn) {
  TestHttpServer server([](const Request&) { return Ok("abc"); });
  RegistrySession session(OptionsFor(server), &cancellation_);
  const absl::Status status =
      session.FetchBlob(Digest(DigestOf("sha256", "abc")), 3,
                        [](absl::string_view) { return absl::UnavailableError("unpacker died"); });
  EXPECT_THAT(std::string(status.message()), HasSubstr("unpacker died"));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(RegistrySessionTest, CancellingEndsAStalledTransferAtOnce) {
  TestHttpServer server(
      [](const Request&) { return Reply{.code = 200, .body = "abc", .cut = 1, .stall = true}; });
  RegistrySession session(OptionsFor(server), &cancellation_);
  std::string got;
  absl::Status status;
  std::thread fetcher([&] { status = Fetch(session, "abc", &got); });
  while (server.requests().empty()) std::this_thread::yield();
  const absl::Time start = absl::Now();
  cancellation_.Cancel();
  fetcher.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(500));
}

TEST_F(RegistrySessionTest, MirrorsComeFirstGetNoCredentialsAndMayFail) {
  TestHttpServer upstream([](const Request&) { return Ok(kManifest); });
  TestHttpServer broken([](const Request&) {
    return Reply{.code = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
  });
  TestHttpServer resolver([](const Request&) { return Ok("mirror"); });
  RegistrySession::Options options = OptionsFor(upstream);
  options.auth.username = "u";
  options.auth.password = "p";
  options.endpoints.insert(options.endpoints.begin(), EndpointOf(broken, false));
  RegistrySession session(options, &cancellation_);
  const auto manifest = session.GetManifest();
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->bytes, kManifest);
  ASSERT_EQ(broken.requests().size(), 1u);
  EXPECT_EQ(broken.requests()[0].Header("authorization"), "");
  EXPECT_EQ(broken.requests()[0].target, "/v2/a/b/manifests/t?ns=" + upstream.host());

  // A mirror that may not resolve tags is not asked for one.
  options.endpoints[0] = EndpointOf(resolver, false);
  options.endpoints[0].can_resolve = false;
  RegistrySession other(options, &cancellation_);
  EXPECT_TRUE(other.GetManifest().ok());
  EXPECT_THAT(resolver.requests(), IsEmpty());
}

TEST_F(RegistrySessionTest, AMirrorThatSendsWrongBytesIsNotAskedAgain) {
  const std::string content(100, 'c');
  TestHttpServer upstream([&](const Request&) { return Ok(content); });
  TestHttpServer mirror([&](const Request&) { return Ok(std::string(100, 'd')); });
  RegistrySession::Options options = OptionsFor(upstream);
  options.endpoints.insert(options.endpoints.begin(), EndpointOf(mirror, false));
  RegistrySession session(options, &cancellation_);
  std::string got;
  EXPECT_TRUE(absl::IsDataLoss(Fetch(session, content, &got)));
  ASSERT_TRUE(session.MayRetryElsewhere());
  got.clear();
  EXPECT_TRUE(Fetch(session, content, &got).ok());
  EXPECT_EQ(got, content);
}

TEST_F(RegistrySessionTest, AnUnreachableRegistryIsUnavailableAndNamed) {
  RegistrySession::Options options;
  {
    TestHttpServer gone([](const Request&) { return Reply{}; });
    options = OptionsFor(gone);
  }
  RegistrySession session(options, &cancellation_);
  const absl::Status status = session.GetManifest().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(options.endpoints[0].base + "/a/b/manifests/t"));
}

}  // namespace
}  // namespace berth
