// A volume of the production code on a simulated device, and its history. Runs operations, one
// after the other or several in flight, and writes down what was asked and answered.
#pragma once

#include <handback/sim.h>
#include <handback/volume.h>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/history.h"
#include "sim/operation.h"

namespace handback::sim {

class World {
 public:
  explicit World(const SimDeviceOptions& options);
  ~World();

  // Each returns what was wrong, or nothing.
  [[nodiscard]] std::string format(bool data_checksums = false);
  // Opens the volume. Faults may make that fail; then there is no volume.
  [[nodiscard]] std::string open(const VolumeOptions& options = {});
  [[nodiscard]] std::string run(const Operation& operation);
  // Waits for all that is in flight.
  [[nodiscard]] std::string settle();
  // Lets go of all handles and of the volume, as if the process had been killed.
  void kill();
  [[nodiscard]] std::string close();

  // From now on, and until the other: every bio has a deadline of a second of the simulated clock.
  // Requires: no volume.
  void put_deadline();
  void remove_deadline();

  // With faults on the way a call may fail; what the model takes for impossible may not succeed.
  void expect_faults(bool expected) noexcept { faults_expected_ = expected; }

  [[nodiscard]] SimDevice& device() noexcept { return device_; }
  [[nodiscard]] SimEnvironment& environment() noexcept { return environment_; }
  [[nodiscard]] Issuer& issuer() noexcept { return *issuer_; }
  [[nodiscard]] Volume* volume() noexcept { return volume_.get(); }
  [[nodiscard]] History& history() noexcept { return history_; }
  void set_history(History history) { history_ = std::move(history); }
  // From now on "@x" is the file that is /x now.
  void name_slots();
  [[nodiscard]] bool busy() const noexcept { return !flights_.empty(); }
  // The code of the last call that failed; ok if none has since the last look.
  [[nodiscard]] Errc take_last_error() noexcept;

 private:
  struct Flight;

  VolumeFile* handle_of(std::string_view path, NodeId* node);
  std::string write(const Operation& operation);
  std::string names(const Operation& operation);
  std::string acknowledge(const Operation& operation, HistoryAck::Kind kind, NodeId node,
                          std::uint64_t start, const Result<void>& result);
  std::string read_back(const Operation& operation);
  std::string expect(const Operation& operation, const Result<void>& result);
  std::string reopen();

  SimEnvironment environment_;
  SimDevice device_;
  std::unique_ptr<BlockDevice> deadline_;
  BlockDevice* target_ = &device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  VolumeOptions volume_options_;
  History history_;
  std::map<NodeId, std::unique_ptr<VolumeFile>> handles_;
  std::map<std::string, NodeId> slots_;
  std::vector<std::unique_ptr<Flight>> flights_;
  std::vector<std::unique_ptr<Flight>> spare_;
  AlignedBuffer read_buffer_;  // Not on the stack: an answer may come after the deadline.
  bool faults_expected_ = false;
  Errc last_error_ = Errc::ok;
  bool closed_well_ = true;
  std::string problem_;  // That a callback found.
};

// Makes the tree that concrete_operations() expects, durably, and makes the history begin with it.
[[nodiscard]] std::string make_tree(World& world);

}  // namespace handback::sim
