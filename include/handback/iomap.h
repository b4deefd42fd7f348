// The mapper's side of direct I/O: file ranges to device ranges, after the kernel's iomap.
//
// A third party makes a file of its own by supplying IomapOps and DioOps and calling dio_rw() from
// its File.
#pragma once

#include <handback/block_device.h>
#include <handback/contract.h>
#include <handback/kiocb.h>
#include <cstdint>
#include <memory>

namespace handback {

enum class IomapType : std::uint8_t {
  hole,       // Nothing there: reads are zeros.
  unwritten,  // Allocated, never written: reads are zeros, writes convert.
  mapped,     // Written.
};

// One answer of a mapper. Transient: it says how things are now, under the mapper's own locking.
struct Iomap {
  std::uint64_t offset = 0;  // Bytes in the file.
  std::uint64_t length = 0;  // Bytes, at least 1.
  std::uint64_t addr = 0;    // Byte on the device where `offset` lies. Meaningless for a hole.
  IomapType type = IomapType::hole;
  bool new_extent = false;  // Allocated for this request: nothing valid is on the device.
  bool shared = false;      // Shared with another owner.
  bool dirty = false;  // Metadata needed to read the range is not durable: FUA alone is not enough.
};

struct IomapRequest {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // Bytes still to map, at least 1.
  bool write = false;
  bool nowait = false;
};

class IomapOps {
 public:
  // Maps the start of the request into `*iomap`: it must contain request.offset; the longer the
  // better. A write must not be answered with a hole. Errors end the request. Runs on: task or
  // issuer context. Must not wait for I/O.
  virtual IoResult iomap_begin(Kiocb& kiocb, const IomapRequest& request,
                               Iomap* iomap) noexcept = 0;

  // iomap_begin() answered `refused` (no_space, or would_block: the range cannot be written yet),
  // and the request may wait. A success: try again now. NotFinal: dio_retry() will be called, once,
  // when it is worth another try; until then the request holds its range. An error ends the
  // request. Runs on: task or issuer context. Must not wait for I/O, and what is waited for must
  // not need a range of this file.
  virtual Outcome make_way(Kiocb& kiocb, IoResult refused) noexcept;

  // The unit of allocation, in bytes: a write into an unwritten or new extent that covers only part
  // of a unit is completed with zeros. A multiple of the device's logical block.
  [[nodiscard]] virtual std::uint32_t fs_block_bytes() const noexcept = 0;

 protected:
  ~IomapOps() = default;
};

// What the engine knows when it hands the request to end_io.
struct DioEnd {
  std::uint64_t offset = 0;  // Bytes in the file: where the request began.
  std::uint32_t bytes = 0;   // Requested.
  IoResult result;           // Bytes transferred, or the first error.
  bool unwritten = false;    // Some mapping was unwritten or new: convert what was written.
  bool needs_sync = false;   // DSYNC and not satisfied by FUA or write-through.
  std::uint64_t token = 0;   // What write_start() returned.
  // A write that entered before this one and began below it has failed, so that this one, which
  // makes the file longer, would leave a gap.
  bool behind_gap = false;
  bool data_begun = false;  // begin_data() has said ok.
  IovView iov;              // The request's memory.
  void* hold = nullptr;     // DioRequest::hold.
  // False: the host had no memory, or no worker thread, for the request. Nothing was submitted for
  // it, and end_io returns a result: there is nothing that a continuation could end.
  bool started = true;
};

// What the engine knows when the bios of a write are about to be submitted.
struct DioStart {
  std::uint64_t offset = 0;        // Bytes in the file.
  std::uint32_t bytes = 0;         // Of the file. The bios may add zeros around it.
  std::uint64_t required_end = 0;  // Of a write that makes the file longer: where the file ends (at
                                   // most `offset`) once all that entered before is published.
  bool extending = false;
  bool converts = false;  // Some mapping is unwritten or new.
  Bio* bios = nullptr;    // In order of file offsets, each within one mapping. `fua` may be set.
};

class DioOps {
 public:
  // Declares what the two handlers below do (contract.h): it decides where they run, and while they
  // run they may do nothing else. Acts::user_code cannot be declared.
  explicit DioOps(const HandlerContract& contract = {});
  DioOps(const DioOps&) = delete;
  DioOps& operator=(const DioOps&) = delete;
  [[nodiscard]] const HandlerContract& contract() const noexcept { return contract_; }

  // Called for a write with DioRequest::guards_data once it is mapped, before write_start(): the
  // data is about to be submitted. ok: it will be, and end_io tells how it ended (with data_begun).
  // would_block: make_way() is asked, and the request is mapped anew. Runs on: task or issuer
  // context. Must not wait for I/O.
  [[nodiscard]] virtual IoResult begin_data(Kiocb& kiocb, const DioStart& start) noexcept;

  // Called for a write with DioRequest::tell_start that is to be durable (DSYNC, SYNC) and for
  // which FUA alone is not enough, right before its bios are submitted: the file may write down, at
  // the same time, what makes the data readable. Returns a token for DioEnd; 0 means nothing. Runs
  // on: task or issuer context. Must not wait for I/O.
  virtual std::uint64_t write_start(Kiocb& kiocb, const DioStart& start) noexcept;

  // The data of a write with a token is on the device, or its transfer failed. Called before
  // end_io, which may have to wait for writes before it. Runs on: as end_io, never device context.
  virtual void data_ended(Kiocb& kiocb, std::uint64_t token, bool ok) noexcept;

  // The file's part of settling: conversion, size, error handling. Called exactly once per request
  // that passed the checks, on error too; with DioRequest::publish_in_order, of writes that make
  // the file longer in the order in which they entered, as far as one begins behind the other: a
  // size that was published covers no bytes that are still on their way. Then the request no longer
  // counts as in flight. Returns the result so far, or NotFinal after submitting a continuation,
  // which ends with dio_end_pending(). Runs on: issuer or task context; worker context if it
  // declared Acts::wait or the request did not set DIO_DEFER; device context if and only if the
  // route is `inline` (a read that succeeded or a pure overwrite, and nothing declared for those).
  // Waits for I/O only if it declared that; in device context it may only take leaf locks and must
  // return a result. It never waits for a range of its own file (a Drain): whoever drains may be
  // waiting for it.
  virtual Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept = 0;

  // Makes a dsync write durable with the metadata needed to read it; called after end_io if
  // end.needs_sync and the result so far is a success. Returns as end_io does; its error replaces
  // the result. Runs on: as end_io, but never in device context.
  virtual Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept = 0;

  // True if a write that ends at `end_offset` makes the file larger, as of now.
  // Runs on: any context, leaf locks only.
  [[nodiscard]] virtual bool is_extending(std::uint64_t end_offset) const noexcept = 0;

  // The file's size in bytes, now: reads end there. Runs on: any context, leaf locks only.
  [[nodiscard]] virtual std::uint64_t size_bytes() const noexcept = 0;

  // Asked as a write that begins beyond the file's size enters its range (of DioRequest::inflight),
  // under the lock of the ranges, so that nobody can make the file shorter in between: true if what
  // lies between must be prepared first. dio_rw() then ends with would_block, detail
  // gap_unprepared, and without end_io: nothing of the request has begun, and the file starts it
  // anew. Not asked of an APPEND. Runs on: any context; takes no lock.
  [[nodiscard]] virtual bool gap_unprepared() const noexcept { return false; }

  // Asked of a write without a DioRequest::hold as it enters its range, under the lock of the
  // ranges: true if the file has got a page cache in which it must make way first. dio_rw() then
  // ends with would_block, detail file_is_cached, and without end_io; the file starts the write
  // anew. Runs on: any context; takes no lock.
  [[nodiscard]] virtual bool must_hold() const noexcept { return false; }

  // Asked when a write with a DioRequest::hold has been carried out: whether the page cache has
  // pages of the range, so that there is more to do than device context grants. Runs on: any
  // context, leaf locks only.
  [[nodiscard]] virtual bool has_cached_pages(std::uint64_t /*offset*/,
                                              std::uint64_t /*length*/) const noexcept {
    return false;
  }

  // The largest size, for APPEND. Runs on: any context.
  [[nodiscard]] virtual std::uint64_t size_bytes_max() const noexcept {
    return std::uint64_t{1} << 60;
  }

 protected:
  ~DioOps() = default;

 private:
  HandlerContract contract_;
};

// Which requests may not be in flight together where their ranges overlap.
enum class RangeMode : std::uint8_t {
  read,             // Beside anything but `everything`.
  write,            // Beside reads and writes.
  write_exclusive,  // Beside reads only: part of a block that others may also be writing is zeroed.
  everything,       // Beside nothing: the range's blocks are about to go away.
};

// The requests in flight on one file, by byte range. Counts fall when a request is settled, never
// later. Any thread; leaf lock only, except drain().
class DioInflight {
 public:
  DioInflight();
  DioInflight(const DioInflight&) = delete;
  DioInflight& operator=(const DioInflight&) = delete;
  ~DioInflight();  // Requires: nothing in flight.

  struct Impl;

  // Holds a range in mode `everything`: waits for what is in flight there and keeps new requests
  // out (they wait in line; NOWAIT ones fail with would_block) until the object is gone. The wait
  // reaps and settles the calling issuer's own requests and delivers nothing. Runs on: task
  // context.
  class Drain {
   public:
    // `rank`: of what the table is of; requests in flight on a device unless said otherwise.
    Drain(DioInflight& inflight, Issuer& issuer, std::uint64_t offset, std::uint64_t length,
          LockRank rank = LockRank::range);
    Drain(const Drain&) = delete;
    Drain& operator=(const Drain&) = delete;
    ~Drain();

   private:
    struct State;
    DioInflight& inflight_;
    LockRank rank_;
    std::unique_ptr<State> state_;
  };

  [[nodiscard]] std::uint64_t count() const noexcept;

 private:
  friend class DioEngine;
  friend Impl& dio_inflight_impl(DioInflight& inflight) noexcept;
  std::unique_ptr<Impl> impl_;
};

// One request for the engine.
struct DioRequest {
  BlockDevice* device = nullptr;
  IomapOps* iomap_ops = nullptr;
  DioOps* dio_ops = nullptr;
  DioInflight* inflight =
      nullptr;  // Null: the file needs no ordering between overlapping requests.
  // Of a write: no other write may overlap it, and write_start() is called. Requires: inflight.
  bool tell_start = false;
  // Of a write: nothing may overlap it, in whole fs blocks, reads included, and begin_data() is
  // called. Requires: inflight.
  bool guards_data = false;
  // Of a write that makes the file longer: end_io comes in the order of entering, and an APPEND
  // takes the place behind those in flight. Requires: inflight.
  bool publish_in_order = false;
  // The file has called dio_check() for this request already, and it was ok.
  bool checked = false;
  // Of a write: what the file has done in its page cache for it; DioEnd gives it back.
  void* hold = nullptr;
  // Of a write: it makes the file no longer than this, though it may transfer more.
  std::uint64_t file_end_max = ~std::uint64_t{0};
};

// Carries the request out: waits in line for its range, maps it, splits it into bios, zeroes around
// partial blocks, decides FUA. Returns a final outcome if the request ended (ki_complete is not
// called), else NotFinal. Requires: kiocb.issuer is the calling thread's. Checked here: flags,
// alignment, limits. Errors: invalid, not_supported, too_large (each with a detail), would_block,
// what iomap_begin said, io. end_io is called for every request that passed the checks, also when
// it then failed.
Outcome dio_rw(Kiocb& kiocb, IovView iov, const DioRequest& request) noexcept;

// After make_way() returned NotFinal (or from within it): the request tries again. Any thread.
void dio_retry(Kiocb& kiocb) noexcept;

// Ends a request whose end_io or write_sync returned NotFinal. Any thread; issuer or task context.
void dio_end_pending(Kiocb& kiocb, IoResult result) noexcept;

// The alignment and flag rules of dio_rw() alone: ok, or the error that dio_rw() would return.
[[nodiscard]] IoResult dio_check(const Kiocb& kiocb, IovView iov,
                                 const Geometry& geometry) noexcept;

// A whole block device as a File: offsets are device bytes, every mapping is `mapped`.
// DSYNC is FUA where the device has it, else a flush.
[[nodiscard]] std::unique_ptr<File> make_device_file(BlockDevice& device);

}  // namespace handback
