#include "handback/info_json.h"

#include <nlohmann/json.hpp>

namespace tool {

std::string_view file_type_name(handback::FileType type) noexcept {
  return type == handback::FileType::directory ? "directory" : "file";
}

nlohmann::ordered_json volume_info_json(const handback::VolumeInfo& info) {
  return {{"label", info.label},
          {"id", info.id},
          {"version_major", info.version_major},
          {"version_minor", info.version_minor},
          {"fs_block_bytes", info.fs_block_bytes},
          {"data_checksums", info.data_checksums},
          {"size_bytes", info.size_bytes},
          {"data_bytes", info.data_bytes},
          {"used_bytes", info.data_bytes - info.free_bytes},
          {"free_bytes", info.free_bytes},
          {"metadata_bytes", info.metadata_bytes},
          {"metadata_bytes_max", info.metadata_bytes_max},
          {"log_bytes", info.log_bytes},
          {"log_used_bytes", info.log_used_bytes},
          {"file_count", info.file_count},
          {"directory_count", info.directory_count},
          {"extent_count", info.extent_count}};
}

nlohmann::ordered_json recovery_json(const handback::RecoveryReport& report) {
  return {{"clean", report.clean},
          {"checkpoint_generation", report.checkpoint_generation},
          {"records_replayed", report.records_replayed},
          {"changes_replayed", report.changes_replayed},
          {"torn_record_dropped", report.torn_record_dropped},
          {"backup_superblock_used", report.backup_superblock_used},
          {"checksum_pages_stale", report.checksum_pages_stale},
          {"checksum_pages_damaged", report.checksum_pages_damaged}};
}

nlohmann::ordered_json file_info_json(const std::string& path, const handback::FileInfo& info) {
  nlohmann::ordered_json json = {{"path", path},
                                 {"type", file_type_name(info.type)},
                                 {"ino", info.ino},
                                 {"nlink", info.nlink}};
  if (info.type == handback::FileType::directory) {
    json["entry_count"] = info.size_bytes;
  } else {
    json["size_bytes"] = info.size_bytes;
  }
  json["allocated_bytes"] = info.allocated_bytes;
  json["extent_count"] = info.extent_count;
  json["mtime_ns"] = info.mtime_ns;
  return json;
}

nlohmann::ordered_json extent_json(const handback::ExtentInfo& extent) {
  return {{"offset", extent.offset},
          {"addr", extent.addr},
          {"length", extent.length},
          {"unwritten", extent.unwritten}};
}

}  // namespace tool
