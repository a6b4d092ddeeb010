#include "snapshotter/sidecar.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

absl::StatusOr<uint64_t> Number(const json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number_unsigned()) {
    return absl::DataLossError(absl::StrCat("layer.json: ", field, " is no number"));
  }
  return found->get<uint64_t>();
}

// A field that sidecars of before its time lack: 0 then.
absl::StatusOr<uint64_t> LaterNumber(const json& object, const char* field) {
  return object.contains(field) ? Number(object, field) : 0;
}

absl::StatusOr<std::string> Text(const json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string() || found->get<std::string>().size() > 200) {
    return absl::DataLossError(absl::StrCat("layer.json: ", field, " is no short string"));
  }
  return found->get<std::string>();
}

}  // namespace

std::string FormatSidecar(const LayerRecord& record) {
  return json{
             {"version", kVersion},
             {"diffId", record.info.diff_id.str()},
             {"tarBytes", record.info.tar_bytes},
             {"fileBytes", record.info.file_bytes},
             {"entries", record.info.entries},
             {"diskBytes", record.info.disk_bytes},
             {"inodes", record.info.inodes},
             {"created", static_cast<uint64_t>(absl::ToUnixNanos(record.info.created))},
             {"digestList", record.digest_list},
             {"impliedOffset", record.implied_offset},
             {"opaqueRoot", record.opaque_root ? 1u : 0u},
         }
             .dump(1) +
         "\n";
}

absl::StatusOr<LayerRecord> ParseSidecar(const LayerGeneration& generation,
                                         absl::string_view text) {
  const json object = json::parse(text.begin(), text.end(), nullptr, false);
  if (!object.is_object()) return absl::DataLossError("layer.json: no JSON object");
  ASSIGN_OR_RETURN(const uint64_t version, Number(object, "version"));
  if (version != kVersion) {
    return absl::DataLossError(absl::StrCat("layer.json: version ", version, " is unknown"));
  }
  LayerRecord record;
  record.info.generation = generation;
  ASSIGN_OR_RETURN(const std::string diff_id, Text(object, "diffId"));
  record.info.diff_id = DiffId(diff_id);
  ASSIGN_OR_RETURN(record.info.tar_bytes, Number(object, "tarBytes"));
  ASSIGN_OR_RETURN(record.info.file_bytes, Number(object, "fileBytes"));
  ASSIGN_OR_RETURN(record.info.entries, Number(object, "entries"));
  ASSIGN_OR_RETURN(record.info.disk_bytes, LaterNumber(object, "diskBytes"));
  ASSIGN_OR_RETURN(record.info.inodes, LaterNumber(object, "inodes"));
  ASSIGN_OR_RETURN(const uint64_t created, Number(object, "created"));
  record.info.created = absl::FromUnixNanos(static_cast<int64_t>(created));
  ASSIGN_OR_RETURN(record.digest_list, Text(object, "digestList"));
  ASSIGN_OR_RETURN(record.implied_offset, Number(object, "impliedOffset"));
  ASSIGN_OR_RETURN(const uint64_t opaque, Number(object, "opaqueRoot"));
  record.opaque_root = opaque != 0;
  return record;
}

}  // namespace berth
