#include "sim/world.h"

#include <fmt/format.h>
#include <handback/deadline_device.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace handback::sim {
namespace {

constexpr std::uint64_t write_bytes_max = 256U << 10;

// Errors that come before anything has changed.
bool without_effect(Errc code) {
  switch (code) {
    case Errc::io:
    case Errc::timed_out:
    case Errc::poisoned:
    case Errc::canceled:
      return false;
    default:
      return true;
  }
}

}  // namespace

struct World::Flight {
  World* world = nullptr;
  Aiocb aiocb;
  AlignedBuffer buffer{write_bytes_max};
  std::size_t event = 0;
  bool done = false;
};

World::World(const SimDeviceOptions& options)
    : environment_(options.seed), device_(environment_, options) {
  auto issuer = Issuer::create(
      {.dios_initial = 32, .bios_initial = 64, .nudge_signal = 0, .environment = &environment_});
  if (!issuer) {
    std::fprintf(stderr, "%s\n", issuer.error().message().c_str());
    std::abort();
  }
  issuer_ = std::move(*issuer);
}

World::~World() {
  static_cast<void>(settle());
  kill();
  issuer_->detach(device_);
}

std::string World::format(bool data_checksums) {
  auto formatted =
      Volume::format(*issuer_, device_, {.overwrite = true, .data_checksums = data_checksums});
  return formatted ? std::string() : "format: " + formatted.error().message();
}

std::string World::open(const VolumeOptions& options) {
  volume_options_ = options;
  auto opened = Volume::open(*issuer_, *target_, options);
  if (!opened) {
    last_error_ = opened.error().code();
    return "open: " + opened.error().message();
  }
  volume_ = std::move(*opened);
  return {};
}

void World::put_deadline() {
  issuer_->detach(device_);
  DeadlineOptions options;
  options.deadline_ms = 1000;
  options.clock = [](void* context) noexcept {
    return static_cast<SimEnvironment*>(context)->monotonic_ns();
  };
  options.clock_context = &environment_;
  options.notice = [](std::string_view) {};
  deadline_ = make_deadline_device(device_, options);
  target_ = deadline_.get();
}

void World::remove_deadline() {
  if (deadline_ == nullptr) return;
  issuer_->detach(*deadline_);
  // Nothing may come late when the next run begins.
  device_.answer_all();
  static_cast<void>(overdue(*deadline_));
  deadline_.reset();
  target_ = &device_;
}

void World::kill() {
  handles_.clear();
  volume_.reset();
}

std::string World::close() {
  if (std::string problem = settle(); !problem.empty()) return problem;
  handles_.clear();
  const std::uint64_t start = device_.moment();
  const auto closed = volume_->close(*issuer_);
  volume_.reset();
  closed_well_ = closed.has_value();
  return acknowledge({.kind = OperationKind::reopen}, HistoryAck::Kind::all, 0, start, closed);
}

std::string World::reopen() {
  if (std::string problem = close(); !problem.empty()) return problem;
  // What was not committed would be gone, and the history goes on as if it were there.
  if (!closed_well_) return {};
  std::string problem = open(volume_options_);
  if (!problem.empty()) {
    if (faults_expected_) return {};
    return problem;
  }
  return {};
}

Errc World::take_last_error() noexcept {
  return std::exchange(last_error_, Errc::ok);
}

void World::name_slots() {
  slots_.clear();
  for (const auto& [path, node] : history_.names())
    slots_[path.substr(path.rfind('/') + 1)] = node;
}

VolumeFile* World::handle_of(std::string_view path, NodeId* node) {
  std::string name(path);
  if (path.starts_with('@')) {
    *node = slots_[name.substr(1)];
    if (const auto known = handles_.find(*node); known != handles_.end())
      return known->second.get();
    // By any name that it has now.
    name.clear();
    for (const auto& [known_path, known_node] : history_.names()) {
      if (known_node == *node) name = known_path;
    }
    if (name.empty()) return nullptr;
  } else {
    const NodeId* const found = history_.find(path);
    if (found == nullptr || history_.nodes()[*found].directory) return nullptr;
    *node = *found;
    if (const auto known = handles_.find(*node); known != handles_.end())
      return known->second.get();
  }
  auto opened = volume_->open_file(*issuer_, name);
  if (!opened) {
    last_error_ = opened.error().code();
    return nullptr;
  }
  return (handles_[*node] = std::move(*opened)).get();
}

std::string World::expect(const Operation& operation, const Result<void>& result) {
  if (result) return {};
  last_error_ = result.error().code();
  if (faults_expected_) return {};
  return to_string(operation) + ": " + result.error().message();
}

std::string World::acknowledge(const Operation& operation, HistoryAck::Kind kind, NodeId node,
                               std::uint64_t start, const Result<void>& result) {
  const std::uint64_t end = device_.moment();
  if (result) history_.acknowledged({kind, node, start, end});
  return expect(operation, result);
}

std::string World::settle() {
  for (auto& flight : flights_) {
    while (!flight->done)
      issuer_->wait();
  }
  std::move(flights_.begin(), flights_.end(), std::back_inserter(spare_));
  flights_.clear();
  return std::exchange(problem_, {});
}

std::string World::write(const Operation& operation) {
  NodeId node = 0;
  VolumeFile* const file = handle_of(operation.path, &node);
  if (file == nullptr) return {};
  std::unique_ptr<Flight> flight;
  if (spare_.empty()) {
    flight = std::make_unique<Flight>();
  } else {
    flight = std::move(spare_.back());
    spare_.pop_back();
  }
  flight->world = this;
  flight->done = false;
  const std::uint64_t length = std::min(operation.length, write_bytes_max);
  const std::uint32_t id = history_.next_write_id();
  const auto bytes = flight->buffer.span().first(length);
  fill_sectors(bytes, id);
  const bool append = operation.kind == OperationKind::append;
  KiocbFlags flags = KiocbFlags::none;
  if (operation.dsync) flags = flags | KiocbFlags::dsync;
  if (append) flags = flags | KiocbFlags::append;
  flight->event = history_.write_started(node, append ? history_.size_now(node) : operation.offset,
                                         length, id, operation.dsync, device_.moment());
  flight->aiocb.prepare_write(
      *file, append ? 0 : operation.offset, bytes, flags,
      [](Aiocb& ended) noexcept {
        auto& self = *static_cast<Flight*>(ended.context);
        World& world = *self.world;
        const IoResult result = ended.result;
        // A device, too, may say that it has no space; then something was tried.
        const bool refused = !world.faults_expected_ || result.code() == Errc::invalid;
        const bool no_effect = !result.ok() && refused && without_effect(result.code());
        const HistoryEvent& event = world.history_.events()[self.event];
        // An append that failed had its place, too, if it got that far.
        const bool placed =
            has(ended.ki_flags, KiocbFlags::append) && (result.ok() || ended.ki_pos != 0);
        const std::uint64_t at = placed ? ended.ki_pos : event.offset;
        if (result.ok() && result.bytes() != event.length)
          world.problem_ = fmt::format("a write of {} bytes says that {} were written",
                                       event.length, result.bytes());
        if (!result.ok()) {
          world.last_error_ = result.code();
          const bool possible = result.code() == Errc::invalid || result.code() == Errc::no_space;
          if (!world.faults_expected_ && !possible)
            world.problem_ = "a write failed: " + describe(result);
        }
        world.history_.write_ended(self.event, at, result.ok(), no_effect, world.device_.moment());
        self.done = true;
      },
      flight.get());
  issuer_->submit(flight->aiocb);
  flights_.push_back(std::move(flight));
  if (operation.in_flight) {
    issuer_->kick();
    return {};
  }
  return settle();
}

std::string World::names(const Operation& operation) {
  Names after;
  std::vector<NodeId> touched;
  bool possible = false;
  const std::uint64_t start = device_.moment();
  Result<void> result;
  switch (operation.kind) {
    case OperationKind::create: {
      possible = history_.try_create(operation.path, false, &after, &touched);
      auto opened =
          volume_->open_file(*issuer_, operation.path, {.create = true, .exclusive = true});
      if (!opened) {
        result = tl::unexpected<Error>(opened.error());
      } else if (possible) {
        handles_[touched[1]] = std::move(*opened);
      }
      break;
    }
    case OperationKind::mkdir:
      possible = history_.try_create(operation.path, true, &after, &touched);
      result = volume_->mkdir(operation.path);
      break;
    case OperationKind::unlink:
      possible = history_.try_remove(operation.path, false, &after, &touched);
      result = volume_->unlink(operation.path);
      break;
    case OperationKind::rmdir:
      possible = history_.try_remove(operation.path, true, &after, &touched);
      result = volume_->rmdir(operation.path);
      break;
    case OperationKind::rename:
      possible = history_.try_rename(operation.path, operation.path_to, &after, &touched);
      result = volume_->rename(operation.path, operation.path_to);
      break;
    default:
      possible = history_.try_link(operation.path, operation.path_to, &after, &touched);
      result = volume_->link(operation.path, operation.path_to);
      break;
  }
  if (result && !possible) return to_string(operation) + ": succeeded, and is impossible";
  if (!result) {
    last_error_ = result.error().code();
    if (possible && !faults_expected_ && last_error_ != Errc::no_space)
      return to_string(operation) + ": " + result.error().message();
    return {};
  }
  history_.names_changed(std::move(after), std::move(touched), start, device_.moment());
  return {};
}

std::string World::read_back(const Operation& operation) {
  NodeId node = 0;
  VolumeFile* const file = handle_of(operation.path, &node);
  if (file == nullptr) return {};
  if (read_buffer_.size() == 0) read_buffer_ = AlignedBuffer(write_bytes_max);
  const auto bytes = read_buffer_.span().first(std::min(operation.length, write_bytes_max));
  Aiocb read;
  read.prepare_read(*file, operation.offset, bytes);
  const IoResult result = issuer_->run(read);
  if (!result.ok()) {
    last_error_ = result.code();
    return faults_expected_ ? std::string() : to_string(operation) + ": " + describe(result);
  }
  for (std::size_t at = 0; at + sector_bytes <= result.bytes(); at += sector_bytes) {
    if (!decode_sector(std::span<const std::byte>(bytes).subspan(at, sector_bytes)).whole)
      return fmt::format("{}: the sector at {} is no write's", to_string(operation),
                         operation.offset + at);
  }
  return {};
}

std::string World::run(const Operation& operation) {
  if (volume_ == nullptr) return {};
  NodeId node = 0;
  switch (operation.kind) {
    case OperationKind::write:
    case OperationKind::append:
      return write(operation);
    case OperationKind::truncate: {
      VolumeFile* const file = handle_of(operation.path, &node);
      if (file == nullptr) return {};
      const std::size_t event = history_.truncate_started(node, operation.length, device_.moment());
      const auto result = file->truncate(*issuer_, operation.length);
      const bool no_effect = !result && !faults_expected_ && without_effect(result.error().code());
      history_.truncate_ended(event, result.has_value(), no_effect, device_.moment());
      return expect(operation, result);
    }
    case OperationKind::preallocate: {
      VolumeFile* const file = handle_of(operation.path, &node);
      if (file == nullptr) return {};
      const auto result = file->preallocate(operation.offset, operation.length);
      // A file without a name gets nothing reserved, and says so.
      const bool may_refuse =
          !result && (result.error().code() == Errc::no_space ||
                      (result.error().code() == Errc::not_found && file->info().nlink == 0));
      if (may_refuse) return {};
      return expect(operation, result);
    }
    case OperationKind::set_mtime: {
      VolumeFile* const file = handle_of(operation.path, &node);
      return file == nullptr ? std::string() : expect(operation, file->set_mtime(1'000'000));
    }
    case OperationKind::fsync: {
      VolumeFile* const file = handle_of(operation.path, &node);
      if (file == nullptr) return {};
      const std::uint64_t start = device_.moment();
      return acknowledge(operation, HistoryAck::Kind::file, node, start, file->fsync(*issuer_));
    }
    case OperationKind::sync_directory: {
      const std::string path = operation.path == "/" ? std::string() : operation.path;
      const NodeId* const found = path.empty() ? nullptr : history_.find(path);
      if (!path.empty() && (found == nullptr || !history_.nodes()[*found].directory)) return {};
      const std::uint64_t start = device_.moment();
      return acknowledge(operation, HistoryAck::Kind::directory, found == nullptr ? 0 : *found,
                         start, volume_->sync_directory(*issuer_, operation.path));
    }
    case OperationKind::sync: {
      const std::uint64_t start = device_.moment();
      return acknowledge(operation, HistoryAck::Kind::all, 0, start, volume_->sync(*issuer_));
    }
    case OperationKind::freeze: {
      const std::uint64_t start = device_.moment();
      const auto frozen = volume_->freeze(*issuer_);
      std::string problem = acknowledge(operation, HistoryAck::Kind::all, 0, start, frozen);
      if (frozen) {
        if (auto thawed = volume_->thaw(*issuer_); !thawed) return expect(operation, thawed);
      }
      return problem;
    }
    case OperationKind::reopen:
      return reopen();
    case OperationKind::read:
      return read_back(operation);
    default:
      return names(operation);
  }
}

std::string make_tree(World& world) {
  using enum OperationKind;
  constexpr std::uint64_t k = 1024;
  const Operation operations[] = {
      {create, "/a"},
      {create, "/b"},
      {mkdir, "/d"},
      {create, "/d/c"},
      {mkdir, "/e"},
      {write, "/a", {}, 0, 12 * k},
      {write, "/b", {}, 0, 4 * k},
      {write, "/d/c", {}, 0, 8 * k},
      {sync},
  };
  for (const Operation& operation : operations) {
    if (std::string problem = world.run(operation); !problem.empty()) return problem;
  }
  return {};
}

}  // namespace handback::sim
