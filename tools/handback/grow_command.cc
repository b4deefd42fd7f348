// grow: a volume takes all of a file or device that has become larger.
#include <fcntl.h>
#include <fmt/format.h>
#include <handback/bio_group.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "common/progress.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/info_json.h"

namespace tool {
namespace {

struct GrowArguments {
  std::string volume;
  std::uint64_t size_bytes = 0;  // 0: as it is.
  bool json = false;
};

// Makes the volume's file longer, reserved by the host; returns its length before.
std::uint64_t extend_file(const GrowArguments& arguments) {
  const std::string& path = arguments.volume;
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw Failure(exit_failed, fmt::format("{}: {}", path, std::strerror(errno)));
  struct stat status {};
  const bool known = fstat(fd, &status) == 0;
  const auto old_bytes = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t new_bytes =
      (arguments.size_bytes + host_block_bytes - 1) / host_block_bytes * host_block_bytes;
  std::string problem;
  if (!known || !S_ISREG(status.st_mode)) {
    problem = "--size is for files; make the device larger by its own means";
  } else if (new_bytes < old_bytes) {
    problem = fmt::format("is {} already; a volume does not shrink", human_size(old_bytes));
  } else if (new_bytes > old_bytes) {
    const int error = posix_fallocate(fd, static_cast<off_t>(old_bytes),
                                      static_cast<off_t>(new_bytes - old_bytes));
    if (error != 0) {
      problem = fmt::format("cannot be {}: {}", human_size(new_bytes), std::strerror(error));
      // What of it the host gave.
      if (ftruncate(fd, status.st_size) != 0) problem += "; it is longer now, which does no harm";
    }
  }
  close(fd);
  if (!problem.empty()) throw Failure(exit_failed, path + ": " + problem);
  return old_bytes;
}

// So that the host sees pure overwrites only, as after 'format --size'.
void write_zeros(const DeviceSession& session, std::uint64_t from) {
  const std::uint64_t end = session.device().geometry().size_bytes;
  handback::AlignedBuffer zeros(8 << 20);
  std::memset(zeros.data(), 0, zeros.size());
  Progress progress("writing " + session.path());
  for (std::uint64_t at = from; at < end;) {
    const std::uint64_t bytes = std::min<std::uint64_t>(end - at, zeros.size());
    handback::BioGroup group(session.issuer(), session.device());
    group.write(at, zeros.span().first(bytes));
    const handback::IoResult written = group.run_and_wait();
    if (!written.ok()) {
      throw Failure(exit_failed, fmt::format("{}: writing failed: {}; the volume is as it was",
                                             session.path(), handback::describe(written)));
    }
    at += bytes;
    progress.update(at - from, end - from);
  }
}

int run_grow(const GrowArguments& arguments, const Context& context) {
  // Is it a volume, and is it free?
  const std::uint64_t before = [&] {
    VolumeSession session(arguments.volume, context.reading());
    const handback::VolumeInfo info = session.volume().info();
    // Said before the file is made longer for nothing.
    if (info.data_checksums && arguments.size_bytes > info.size_bytes) {
      throw Failure(exit_failed, arguments.volume +
                                     ": a volume with data checksums does not grow; format a "
                                     "larger one and copy the files");
    }
    return info.size_bytes;
  }();
  std::uint64_t written_from = 0;
  if (arguments.size_bytes != 0) written_from = extend_file(arguments);
  {
    const DeviceSession session(arguments.volume, context.writing());
    if (arguments.size_bytes != 0)
      write_zeros(session, written_from / host_block_bytes * host_block_bytes);
    value_of(handback::Volume::grow(session.issuer(), session.device()), arguments.volume);
  }
  VolumeSession session(arguments.volume, context.reading());
  const handback::VolumeInfo info = session.volume().info();
  session.close();
  if (arguments.json) {
    nlohmann::ordered_json json = {{"command", "grow"}, {"size_bytes_before", before}};
    json.update(volume_info_json(info));
    fmt::print("{}\n", json_text(json));
  } else if (info.size_bytes == before) {
    fmt::print("{}: has all of its device already: {}\n", arguments.volume,
               human_size(info.size_bytes));
  } else {
    fmt::print("{}: grown from {} to {}, {} free\n", arguments.volume, human_size(before),
               human_size(info.size_bytes), human_size(info.free_bytes));
  }
  return exit_ok;
}

}  // namespace

void add_grow_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<GrowArguments>();
  CLI::App* command = add_command(
      app, {.group = "Volumes",
            .name = "grow",
            .description = "Make a volume larger",
            .usage = "grow VOLUME [--size SIZE] [--json]",
            .footer =
                R"(Without --size, a volume on a device that has become larger takes all of it.
With --size, its file is made that long first, reserved and written with zeros.
A power cut leaves the volume as it was, or grown. Its room for metadata stays.

Examples:
  handback grow vol.img --size 20G
  handback grow /dev/vg/volume
)"});
  add_volume_argument(*command, &arguments->volume);
  add_size_option(*command, "--size", &arguments->size_bytes, "Make the volume's file this long");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_grow(*arguments, context); };
  });
}

}  // namespace tool
