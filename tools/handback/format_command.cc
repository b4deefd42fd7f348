#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <handback/volume.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/blank_device.h"
#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/info_json.h"

namespace tool {
namespace {

struct FormatArguments {
  std::string path;
  std::uint64_t size_bytes = 0;
  bool size_given = false;
  std::string label;
  bool data_checksums = false;
  bool force = false;
  bool json = false;
};

// Throws Failure if formatting would erase something.
void require_nothing_to_lose(const FormatArguments& arguments, const struct stat& status,
                             const Context& context) {
  const std::string& path = arguments.path;
  const DeviceSession session(path, context.reading(), Phase::using_volume);
  const auto volume =
      handback::Volume::open(session.issuer(), session.device(), {.read_only = true});
  if (volume) {
    const handback::VolumeInfo info = (*volume)->info();
    throw Failure(exit_failed, fmt::format("{}: holds a volume{} with {}; --force erases it", path,
                                           info.label.empty() ? "" : " '" + info.label + "'",
                                           count_of(info.file_count, "file", "files")));
  }
  if (volume.error().code() == handback::Errc::damaged ||
      volume.error().code() == handback::Errc::version) {
    throw Failure(exit_failed,
                  fmt::format("{}: holds a volume that cannot be opened ({}); --force erases it",
                              path, volume.error().message()));
  }
  const std::uint64_t size_bytes = session.device().geometry().size_bytes;
  if (S_ISBLK(status.st_mode) && looks_blank(path, size_bytes)) return;
  throw Failure(exit_failed,
                fmt::format("{}: is not empty: {} that are no volume; --force erases them", path,
                            human_size(size_bytes)));
}

// Bytes of the new file; 0 if it was there.
std::uint64_t prepare_host_file(FormatArguments& arguments, const Context& context) {
  const std::string& path = arguments.path;
  struct stat status {};
  if (stat(path.c_str(), &status) == 0) {
    if (S_ISREG(status.st_mode) && status.st_size == 0) {
      throw Failure(exit_failed,
                    path + ": is an empty file; remove it, and format with --size makes it anew");
    }
    if (arguments.size_given && !S_ISDIR(status.st_mode)) {
      throw Failure(exit_usage, path + ": exists, and --size is for new files; leave --size out");
    }
    if (!arguments.force) require_nothing_to_lose(arguments, status, context);
    return 0;
  }
  if (!arguments.size_given) {
    throw Failure(exit_usage, path + ": does not exist; give --size to make it");
  }
  const std::uint64_t size_bytes =
      (arguments.size_bytes + host_block_bytes - 1) / host_block_bytes * host_block_bytes;
  const InterruptGuard guard;
  Progress progress("writing " + path);
  const auto created = handback::create_host_file(
      path, size_bytes, [&progress](std::uint64_t done_bytes, std::uint64_t total_bytes) {
        progress.update(done_bytes, total_bytes);
        return interrupted_by() == 0;
      });
  if (interrupted_by() != 0) {
    if (created) unlink(path.c_str());
    throw Failure(exit_signal_base + interrupted_by(),
                  path + ": stopped by a signal; nothing was left behind");
  }
  value_of(handback::Result<void>(created), path);
  return size_bytes;
}

void require_sensible(const FormatArguments& arguments) {
  if (arguments.size_given && arguments.size_bytes < handback::volume_size_bytes_min) {
    throw Failure(exit_usage, fmt::format("--size: {} is too small; a volume has at least {}",
                                          human_size(arguments.size_bytes),
                                          human_size(handback::volume_size_bytes_min)));
  }
  if (arguments.size_given && arguments.size_bytes > handback::volume_size_bytes_max) {
    throw Failure(exit_usage, fmt::format("--size: {} is too large; a volume has at most {}",
                                          human_size(arguments.size_bytes),
                                          human_size(handback::volume_size_bytes_max)));
  }
}

int run_format(FormatArguments arguments, const Context& context) {
  require_sensible(arguments);
  const bool created = prepare_host_file(arguments, context) != 0;
  handback::VolumeInfo info;
  try {
    {
      const DeviceSession session(arguments.path, context.writing(), Phase::using_volume);
      value_of(handback::Volume::format(session.issuer(), session.device(),
                                        {.label = arguments.label,
                                         .overwrite = arguments.force,
                                         .data_checksums = arguments.data_checksums}),
               arguments.path);
    }
    const VolumeSession volume(arguments.path, context.reading());
    info = volume.volume().info();
  } catch (...) {
    if (created) unlink(arguments.path.c_str());
    throw;
  }
  if (arguments.json) {
    nlohmann::ordered_json json = {{"command", "format"}, {"path", arguments.path}};
    json.update(volume_info_json(info));
    fmt::print("{}\n", json_text(json));
    return exit_ok;
  }
  fmt::print("{} {}: a volume of {}{}, {} of it for files{}\n", created ? "created" : "formatted",
             arguments.path, human_size(info.size_bytes),
             info.label.empty() ? "" : " with label '" + printable(info.label) + "'",
             human_size(info.data_bytes),
             info.data_checksums ? ", with checksums of their data" : "");
  return exit_ok;
}

}  // namespace

void add_format_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<FormatArguments>();
  CLI::App* command = add_command(
      app,
      {.group = "Volumes",
       .name = "format",
       .description = "Make an empty volume in a new file, an existing file, or a block device",
       .usage = "format PATH [--size SIZE] [--label LABEL] [--data-checksums] [--force] [--json]",
       .footer =
           R"(A new file is reserved and written in full, so that later writes to it never
wait for the file system below. Whatever an existing file or block device
holds is erased, which needs --force unless the device is blank.

With --data-checksums a read of data that is not as it was written fails; that
costs a checksum of all data on its way in and out and 1/1024 of the volume,
cannot be changed later, and such a volume does not grow.

Examples:
  handback format vol.img --size 1G
  handback format vol.img --size 512M --label backup
  handback format /dev/nvme0n1p3
  handback format vol.img --force         empty an existing volume
  handback format vol.img --size 1G --data-checksums
)"});
  command->add_option("PATH", arguments->path, "The file or block device")->required();
  CLI::Option* size = add_size_option(*command, "--size", &arguments->size_bytes,
                                      "Size of the new file, for example 1G");
  command->add_option("--label", arguments->label, "A name for people, at most 63 bytes")
      ->type_name("LABEL");
  command->add_flag("--data-checksums", arguments->data_checksums,
                    "Keep checksums of the data of files, and verify what is read");
  command->add_flag("--force", arguments->force, "Erase what is there");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, size, &context] {
    arguments->size_given = size->count() > 0;
    context.action = [arguments, &context] { return run_format(*arguments, context); };
  });
}

}  // namespace tool
