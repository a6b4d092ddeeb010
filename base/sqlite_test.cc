#include "base/sqlite.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/failpoint.h"
#include "base/files.h"

namespace berth {
namespace {

constexpr Migration kOne[] = {
    {1, "0.1.0", "CREATE TABLE t(name TEXT PRIMARY KEY, data BLOB, n INTEGER)"}};
constexpr Migration kTwo[] = {kOne[0], {2, "0.2.0", "ALTER TABLE t ADD COLUMN extra TEXT"}};

class SqliteTest : public testing::Test {
 protected:
  SqliteTest() {
    std::string pattern = testing::TempDir() + "/sqlite.XXXXXX";
    dir_ = mkdtemp(pattern.data());
    path_ = dir_ + "/state.db";
  }
  ~SqliteTest() override { (void)RemoveTree(dir_); }

  std::unique_ptr<Database> Open() {
    auto db = Database::Open(path_, {.check = true});
    EXPECT_TRUE(db.ok()) << db.status();
    EXPECT_TRUE((*db)->Migrate("test", kOne).ok());
    return *std::move(db);
  }
  absl::Status Insert(Database* db, absl::string_view name,
                      Durability durability = Durability::kNormal) {
    auto tx = db->Write(durability);
    if (!tx.ok()) return tx.status();
    absl::Status status = tx->Prepare("INSERT INTO t(name, data, n) VALUES(?, ?, ?)")
                              .Text(name)
                              .Blob("\0x")
                              .Int64(-5)
                              .Run();
    if (!status.ok()) return status;
    return tx->Commit();
  }
  int64_t Count(Database* db) {
    auto tx = db->Read();
    EXPECT_TRUE(tx.ok()) << tx.status();
    Statement query = tx->Prepare("SELECT count(*) FROM t");
    EXPECT_TRUE(query.Step().value());
    return query.GetInt64(0).value();
  }

  std::string dir_, path_;
};

TEST_F(SqliteTest, ValuesComeBackWithTheirTypes) {
  auto db = Open();
  const std::string blob("a\0b", 3);
  {
    auto tx = db->Write(Durability::kFull);
    ASSERT_TRUE(tx->Prepare("INSERT INTO t(name, data, n) VALUES(?, ?, ?)")
                    .Text("")
                    .Blob(blob)
                    .Null()
                    .Run()
                    .ok());
    ASSERT_TRUE(tx->Commit().ok());
  }
  auto tx = db->Read();
  Statement query = tx->Prepare("SELECT name, data, n FROM t WHERE name=?");
  query.Text("");
  ASSERT_TRUE(query.Step().value());
  EXPECT_EQ(query.GetText(0).value(), "");
  EXPECT_EQ(query.GetBlob(1).value(), blob);
  EXPECT_TRUE(query.IsNull(2));
  EXPECT_EQ(query.GetText(1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(query.GetInt64(2).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(query.GetInt64(9).ok());
  EXPECT_FALSE(query.Step().value());
}

TEST_F(SqliteTest, FileIsPrivate) {
  auto db = Open();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat st;
    ASSERT_EQ(stat((path_ + suffix).c_str(), &st), 0) << suffix;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << suffix;
  }
}

TEST_F(SqliteTest, AnUncommittedTransactionIsRolledBack) {
  auto db = Open();
  {
    auto tx = db->Write(Durability::kNormal);
    ASSERT_TRUE(tx->Execute("INSERT INTO t(name) VALUES('a')").ok());
  }
  EXPECT_EQ(Count(db.get()), 0);
  EXPECT_TRUE(Insert(db.get(), "a").ok());
  EXPECT_EQ(Count(db.get()), 1);
}

TEST_F(SqliteTest, ATakenKeyIsAlreadyExistsAndTheNextWriteWorks) {
  auto db = Open();
  ASSERT_TRUE(Insert(db.get(), "a").ok());
  absl::Status status = Insert(db.get(), "a");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_TRUE(Insert(db.get(), "b").ok());
}

TEST_F(SqliteTest, ReadersDoNotWaitForAWriter) {
  auto db = Open();
  ASSERT_TRUE(Insert(db.get(), "a").ok());
  auto tx = db->Write(Durability::kNormal);
  ASSERT_TRUE(tx->Execute("INSERT INTO t(name) VALUES('b')").ok());
  int64_t seen = -1;
  std::thread([&] { seen = Count(db.get()); }).join();
  EXPECT_EQ(seen, 1);
}

TEST_F(SqliteTest, BadSqlSaysWhichStatement) {
  auto db = Open();
  auto tx = db->Write(Durability::kNormal);
  absl::Status status = tx->Prepare("SELEC 1").Text("x").Run();
  EXPECT_NE(status.message().find("SELEC 1"), absl::string_view::npos) << status;
  EXPECT_FALSE(tx->Prepare("SELECT 1").Text("no such parameter").Run().ok());
}

TEST_F(SqliteTest, MigrationsRunOnceAndInOrder) {
  auto db = Open();
  ASSERT_TRUE(Insert(db.get(), "a").ok());
  EXPECT_TRUE(db->Migrate("test", kTwo).ok());
  EXPECT_TRUE(db->Migrate("test", kTwo).ok());
  EXPECT_EQ(Count(db.get()), 1);
}

TEST_F(SqliteTest, ANewerSchemaIsRefusedAndNamesTheVersionItNeeds) {
  auto db = Open();
  ASSERT_TRUE(db->Migrate("test", kTwo).ok());
  absl::Status status = db->Migrate("test", kOne);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("needs berth 0.2.0"), absl::string_view::npos) << status;
}

TEST_F(SqliteTest, AFailedMigrationLeavesNothing) {
  auto db = Open();
  constexpr Migration kBad[] = {{1, "0.1.0", "CREATE TABLE u(a); CREATE TABLE u(a)"}};
  EXPECT_FALSE(db->Migrate("bad", kBad).ok());
  constexpr Migration kGood[] = {{1, "0.1.0", "CREATE TABLE u(a)"}};
  EXPECT_TRUE(db->Migrate("bad", kGood).ok());
}

TEST_F(SqliteTest, AFullFileIsResourceExhaustedAndReadsGoOn) {
  auto db = Open();
  ASSERT_TRUE(Insert(db.get(), "a").ok());
  {
    auto tx = db->Write(Durability::kNormal);
    ASSERT_TRUE(tx.ok());
    ASSERT_TRUE(tx->Execute("PRAGMA max_page_count=1").ok());
    absl::Status status =
        tx->Prepare("INSERT INTO t(name, data) VALUES('b', zeroblob(100000))").Run();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  EXPECT_EQ(Count(db.get()), 1);
}

TEST_F(SqliteTest, KillInMidCommitLeavesAllOrNothing) {
  {
    auto db = Open();
  }
  for (const char* failpoint : {"sqlite.commit=crash", "sqlite.committed=crash"}) {
    const pid_t child = fork();
    if (child == 0) {
      auto db = Open();
      if (!ArmFailpoints(failpoint).ok()) _exit(3);
      (void)Insert(db.get(), failpoint);
      _exit(4);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }
  auto db = Open();
  EXPECT_EQ(Count(db.get()), 1);
}

TEST_F(SqliteTest, ADamagedFileIsSetAside) {
  const auto damage = [this](absl::string_view how) {
    std::string bytes = ReadFile(path_).value();
    if (how == "zero") bytes.assign(bytes.size(), '\0');
    if (how == "truncate") bytes.resize(bytes.size() / 2);
    if (how == "header") bytes[3] ^= 0x40;
    if (how == "page")
      for (size_t i = 4096; i < bytes.size(); ++i) bytes[i] ^= 0xff;
    if (how == "text") bytes = "this is no database";
    ASSERT_TRUE(WriteFileAtomically(path_, bytes, 0600).ok());
  };
  for (absl::string_view how : {"zero", "truncate", "header", "page", "text"}) {
    {
      auto db = Open();
      for (int i = 0; i < 200; ++i) ASSERT_TRUE(Insert(db.get(), absl::StrCat(how, i)).ok());
    }
    damage(how);
    auto opened = OpenOrSetAside(path_);
    ASSERT_TRUE(opened.ok()) << how << opened.status();
    EXPECT_FALSE(opened->set_aside.empty()) << how;
    EXPECT_EQ(access(opened->set_aside.c_str(), F_OK), 0) << how;
    EXPECT_EQ(opened->damage.code(), absl::StatusCode::kDataLoss) << how;
    ASSERT_TRUE(opened->database->Migrate("test", kOne).ok());
    EXPECT_EQ(Count(opened->database.get()), 0) << how;
    opened->database.reset();
    unlink(path_.c_str());
  }
}

TEST_F(SqliteTest, ASoundFileIsNotSetAside) {
  {
    auto db = Open();
    ASSERT_TRUE(Insert(db.get(), "a").ok());
  }
  auto opened = OpenOrSetAside(path_);
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(opened->set_aside.empty());
  EXPECT_EQ(Count(opened->database.get()), 1);
  EXPECT_EQ(OpenOrSetAside(dir_ + "/missing/state.db").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace berth
