// Compares the compiled CRI with the table of it in testdata/cri-v1.tsv, in both directions.
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"
#include "proto/cri/v1/api.pb.h"

namespace runtime::v1 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;

// A name without its package: `SecurityProfile.ProfileType`. Types of fields have their last part only,
// table says `ProfileType` where the descriptor says `SecurityProfile.ProfileType`.
std::string Relative(const std::string& full_name) {
  return full_name.substr(std::string("runtime.v1.").size());
}

std::string ScalarOrMessage(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->name();
  if (field.enum_type() != nullptr) return field.enum_type()->name();
  return field.type_name();
}

std::string TypeOf(const FieldDescriptor& field) {
  if (!field.is_map()) return ScalarOrMessage(field);
  return absl::StrCat("map<", ScalarOrMessage(*field.message_type()->map_key()), ",",
                      ScalarOrMessage(*field.message_type()->map_value()), ">");
}

std::string LabelOf(const FieldDescriptor& field) {
  return field.is_map() ? "map" : field.is_repeated() ? "repeated" : "";
}

void AddEnum(const EnumDescriptor& type, std::set<std::string>* facts) {
  facts->insert(absl::StrCat("enum ", Relative(type.full_name())));
  for (int i = 0; i < type.value_count(); ++i) {
    facts->insert(absl::StrCat("value ", Relative(type.full_name()), " ", type.value(i)->name(),
                               " ", type.value(i)->number()));
  }
}

void AddMessage(const Descriptor& message, std::set<std::string>* facts) {
  if (message.options().map_entry()) return;
  const std::string name = Relative(message.full_name());
  facts->insert(absl::StrCat("message ", name));
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    EXPECT_EQ(field.real_containing_oneof(), nullptr) << field.full_name();
    facts->insert(absl::StrCat("field ", name, " ", field.name(), " ", field.number(), " ",
                               TypeOf(field), " ", LabelOf(field),
                               field.options().deprecated() ? " deprecated" : ""));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) AddMessage(*message.nested_type(i), facts);
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i), facts);
}

std::set<std::string> FactsOfDescriptor(const FileDescriptor& file) {
  std::set<std::string> facts;
  for (int i = 0; i < file.message_type_count(); ++i) AddMessage(*file.message_type(i), &facts);
  for (int i = 0; i < file.enum_type_count(); ++i) AddEnum(*file.enum_type(i), &facts);
  for (int i = 0; i < file.service_count(); ++i) {
    facts.insert(absl::StrCat("service ", file.service(i)->name()));
    for (int j = 0; j < file.service(i)->method_count(); ++j) {
      const MethodDescriptor& method = *file.service(i)->method(j);
      EXPECT_FALSE(method.client_streaming()) << method.full_name();
      facts.insert(absl::StrCat("rpc ", file.service(i)->name(), " ", method.name(), " ",
                                method.input_type()->name(), " -> ", method.output_type()->name(),
                                " ", method.server_streaming() ? "server-stream" : ""));
    }
  }
  return facts;
}

std::set<std::string> FactsOfTable() {
  std::ifstream table("proto/cri/v1/testdata/cri-v1.tsv");
  std::set<std::string> facts;
  std::string line;
  std::getline(table, line);
  EXPECT_EQ(line,
            "kind\tparent\tname\tnumber\ttype\tlabel\toneof\tdeprecated\treserved\tsince\tnote");
  while (std::getline(table, line)) {
    const std::vector<std::string> cell = absl::StrSplit(line, '\t');
    if (cell.size() != 11 || absl::StartsWith(cell[0], "removed-")) continue;
    EXPECT_EQ(cell[6], "") << line;
    if (cell[0] == "field") {
      facts.insert(absl::StrCat("field ", cell[1], " ", cell[2], " ", cell[3], " ", cell[4], " ",
                                cell[5], cell[7].empty() ? "" : " deprecated"));
    } else if (cell[0] == "value") {
      facts.insert(absl::StrCat("value ", cell[1], " ", cell[2], " ", cell[3]));
    } else if (cell[0] == "rpc") {
      facts.insert(absl::StrCat("rpc ", cell[1], " ", cell[2], " ", cell[4], " ", cell[5]));
    } else {
      facts.insert(absl::StrCat(cell[0], " ", cell[1]));
    }
  }
  return facts;
}

std::vector<std::string> Missing(const std::set<std::string>& from,
                                 const std::set<std::string>& of) {
  std::vector<std::string> missing;
  for (const std::string& fact : of) {
    if (from.count(fact) == 0) missing.push_back(fact);
  }
  return missing;
}

TEST(CriProto, IsWhatTheTableSays) {
  const FileDescriptor& file = *VersionRequest::descriptor()->file();
  EXPECT_EQ(file.package(), "runtime.v1");
  EXPECT_EQ(file.syntax(), FileDescriptor::SYNTAX_PROTO3);
  const std::set<std::string> compiled = FactsOfDescriptor(file);
  const std::set<std::string> table = FactsOfTable();
  EXPECT_GT(table.size(), 800u);
  EXPECT_EQ(absl::StrJoin(Missing(compiled, table), "\n"), "") << "in the table only";
  EXPECT_EQ(absl::StrJoin(Missing(table, compiled), "\n"), "") << "in the proto only";
}

}  // namespace
}  // namespace runtime::v1
