// Durable operations of the kernel's file systems.
#include <fcntl.h>
#include <fmt/format.h>
#include <handback/issuer.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/failure.h"
#include "common/host_fd.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/device_counts.h"
#include "handback/bench/durable_operations.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

void require(bool holds, const std::string& what) {
  if (!holds) throw failure_of_errno(errno, what);
}

class HostOperations {
 public:
  explicit HostOperations(const std::string& directory)
      : folder_(files_.make_folder(directory)),
        folder_fd_(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    require(folder_fd_.get() >= 0, folder_);
    struct stat status {};
    require(fstat(folder_fd_.get(), &status) == 0, folder_);
    sysfs_ = fmt::format("/sys/dev/block/{}:{}/", major(status.st_dev), minor(status.st_dev));
    static_cast<void>(counts());
    std::memset(data_.data(), 0x5a, data_.size());
    file_ = HostFd(open_file(path("file"), O_CREAT));
    for (unsigned i = 0; i < durable_rounds; ++i)
      write(file_.get(), i * durable_write_bytes, RWF_DSYNC);
  }
  ~HostOperations() {
    for (const std::string& name : names_)
      unlink(name.c_str());
  }
  HostOperations(const HostOperations&) = delete;
  HostOperations& operator=(const HostOperations&) = delete;

  [[nodiscard]] std::string cache() const {
    std::ifstream in(sysfs_ + "queue/write_cache");
    std::string cache;
    std::getline(in, cache);
    if (cache == "write through") return "write-through";
    std::ifstream fua_in(sysfs_ + "queue/fua");
    std::string fua;
    std::getline(fua_in, fua);
    return fua == "1" ? "FUA" : "flush only";
  }

  OperationCost cost(DurableOperation operation) {
    for (unsigned i = 0; i < durable_rounds; ++i)
      prepare(operation, i);
    syncfs(folder_fd_.get());
    OperationCost sum;
    const DeviceCounts before = counts();
    for (unsigned i = 0; i < durable_rounds; ++i)
      carry_out(operation, i);
    const DeviceCounts after = counts();
    sum.writes = static_cast<double>(after.writes - before.writes) / durable_rounds;
    sum.flushes = static_cast<double>(after.flushes - before.flushes) / durable_rounds;
    return sum;
  }

 private:
  // What the device has completed so far.
  [[nodiscard]] DeviceCounts counts() const {
    std::ifstream in(sysfs_ + "stat");
    std::vector<std::uint64_t> fields;
    for (std::uint64_t field = 0; in >> field;)
      fields.push_back(field);
    constexpr std::size_t writes_at = 4;
    constexpr std::size_t flushes_at = 15;
    if (fields.size() <= flushes_at) {
      throw Failure(exit_failed, folder_ + ": the kernel does not count for what lies below it");
    }
    return {.writes = fields[writes_at], .fua_writes = 0, .flushes = fields[flushes_at]};
  }

  std::string path(const std::string& name) {
    names_.push_back(folder_ + "/" + name);
    return names_.back();
  }

  int open_file(const std::string& name, int flags) {
    const int fd = open(name.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC | flags, 0600);
    require(fd >= 0, name);
    return fd;
  }

  void write(int fd, std::uint64_t offset, int flags) {
    const iovec segment{data_.data(), durable_write_bytes};
    require(pwritev2(fd, &segment, 1, static_cast<off_t>(offset), flags) ==
                static_cast<ssize_t>(durable_write_bytes),
            "a write");
  }

  void make_file(const std::string& name) {
    const HostFd file(open_file(name, O_CREAT));
    write(file.get(), 0, 0);
    require(fsync(file.get()) == 0, name);
    // A new name is durable with its folder.
    sync_folder();
  }

  void sync_folder() { require(fsync(folder_fd_.get()) == 0, folder_); }

  void prepare(DurableOperation operation, unsigned i) {
    if (operation == DurableOperation::rename || operation == DurableOperation::truncate ||
        operation == DurableOperation::link) {
      make_file(path(fmt::format("{}.{}", static_cast<int>(operation), i)));
    }
    if (operation == DurableOperation::replace && i == 0) make_file(path("replaced"));
  }

  void carry_out(DurableOperation operation, unsigned i) {
    const std::string name = path(fmt::format("{}.{}", static_cast<int>(operation), i));
    switch (operation) {
      case DurableOperation::overwrite:
        write(file_.get(), i * durable_write_bytes, RWF_DSYNC);
        return;
      case DurableOperation::append:
        write(file_.get(), (durable_rounds + i) * durable_write_bytes, RWF_DSYNC);
        return;
      case DurableOperation::create:
        make_file(name);
        return;
      case DurableOperation::replace:
        make_file(name);
        require(rename(name.c_str(), (folder_ + "/replaced").c_str()) == 0, name);
        sync_folder();
        return;
      case DurableOperation::rename:
        require(rename(name.c_str(), path(fmt::format("renamed.{}", i)).c_str()) == 0, name);
        sync_folder();
        return;
      case DurableOperation::truncate: {
        const HostFd file(open_file(name, 0));
        require(ftruncate(file.get(), 0) == 0 && fsync(file.get()) == 0, name);
        return;
      }
      case DurableOperation::link:
        require(link(name.c_str(), path(fmt::format("linked.{}", i)).c_str()) == 0, name);
        sync_folder();
        return;
    }
  }

  BenchFiles files_;
  std::string folder_;
  HostFd folder_fd_;
  std::string sysfs_;
  std::vector<std::string> names_;
  HostFd file_;
  handback::AlignedBuffer data_{durable_write_bytes};
};

}  // namespace

DurableColumn measure_host_operations(const std::string& directory) {
  HostOperations operations(directory);
  DurableColumn column{
      .target = file_system_of(directory), .device = operations.cache(), .costs = {}};
  for (std::size_t i = 0; i < durable_operations.size(); ++i)
    column.costs[i] = operations.cost(durable_operations[i]);
  return column;
}

}  // namespace tool
