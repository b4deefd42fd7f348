#include <handback/host_device.h>

#include <fmt/format.h>

#include <cstring>

#include "block/deadline_device.h"
#include "ring/host_block_device.h"
#include "ring/host_error.h"
#include "ring/host_geometry.h"
#include "ring/thread_pool_queue.h"
#include "ring/uring_queue.h"

namespace handback {
namespace {

constexpr unsigned threads_max = 1024;

Result<void> check_options(const HostDeviceOptions& options) {
  if (options.queue_depth < 1 || options.queue_depth > uring_queue_depth_max) {
    return fail(Errc::invalid, fmt::format("a queue depth of {} is not possible; choose 1 to {}",
                                           options.queue_depth, uring_queue_depth_max));
  }
  if (options.threads < 1 || options.threads > threads_max) {
    return fail(Errc::invalid, fmt::format("{} threads for I/O are not possible; choose 1 to {}",
                                           options.threads, threads_max));
  }
  return {};
}

// Whether to use threads; says so where the caller had not chosen them.
Result<bool> choose_threads(const HostDeviceOptions& options) {
  if (options.engine == HostEngine::threads) return true;
  const int error = probe_uring();
  if (error == 0) return false;
  if (options.engine == HostEngine::io_uring) return host_error("use", "io_uring", error);
  notice_once(NoticeKind::no_io_uring, options.notice,
              fmt::format("io_uring is not available here ({}), using {} threads",
                          std::strerror(error), options.threads));
  return true;
}

}  // namespace

HostBlockDevice::HostBlockDevice(std::unique_ptr<HostFile> file, std::unique_ptr<Geometry> geometry,
                                 std::unique_ptr<ThreadPool> pool, const HostDeviceOptions& options,
                                 const UringFeatures& allowed)
    : file_(std::move(file)),
      geometry_(std::move(geometry)),
      pool_(std::move(pool)),
      queue_depth_(options.queue_depth),
      busy_wait_ns_max_(std::int64_t{options.busy_wait_us_max} * 1000),
      allowed_(allowed) {}

Result<std::unique_ptr<BlockQueue>> HostBlockDevice::open_queue(int wake_fd) {
  if (pool_) return std::make_unique<ThreadPoolQueue>(*pool_, wake_fd);
  UringQueueOptions options;
  options.queue_depth = queue_depth_;
  options.wake_fd = wake_fd;
  options.busy_wait_ns_max = busy_wait_ns_max_;
  options.allowed = allowed_;
  auto queue = UringQueue::open(file_->fd(), *geometry_, options);
  if (!queue) return host_error("open an io_uring for", file_->path(), queue.error());
  return std::move(*queue);
}

Result<std::unique_ptr<BlockDevice>> open_host_device_with(const std::string& path,
                                                           const HostDeviceOptions& options,
                                                           const UringFeatures& allowed) {
  if (auto possible = check_options(options); !possible) return tl::unexpected(possible.error());
  auto opened = HostFile::open(path, options.read_only, options.notice);
  if (!opened) return tl::unexpected(opened.error());
  auto file = std::make_unique<HostFile>(std::move(*opened));
  auto found = find_geometry(*file);
  if (!found) return tl::unexpected(found.error());
  auto geometry = std::make_unique<Geometry>(*found);

  const auto threads = choose_threads(options);
  if (!threads) return tl::unexpected(threads.error());
  std::unique_ptr<ThreadPool> pool;
  if (*threads) {
    auto started = ThreadPool::start(file->fd(), *geometry, options.threads);
    if (!started) return tl::unexpected(started.error());
    pool = std::move(*started);
  }
  auto device = std::make_unique<HostBlockDevice>(std::move(file), std::move(geometry),
                                                  std::move(pool), options, allowed);
  if (options.deadline_ms == 0) return device;
  DeadlineOptions deadline;
  deadline.deadline_ms = options.deadline_ms;
  deadline.notice = options.notice;
  return make_deadline_device(std::move(device), deadline);
}

Result<std::unique_ptr<BlockDevice>> open_host_device(const std::string& path,
                                                      const HostDeviceOptions& options) {
  return open_host_device_with(path, options, UringFeatures{});
}

std::string_view host_engine_name(const BlockDevice& device) noexcept {
  if (const auto* const outer = dynamic_cast<const DeadlineDevice*>(&device)) {
    return host_engine_name(outer->inner());
  }
  const auto* const host = dynamic_cast<const HostBlockDevice*>(&device);
  if (host == nullptr) return "";
  return host->uses_threads() ? "threads" : "io_uring";
}

}  // namespace handback
