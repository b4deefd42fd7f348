// A Volume is a small crash-safe extent file system on one block device: named files with direct
// I/O.
//
// Owner: the caller; the device must outlive it. One process owns a volume at a time (the device's
// lock). Thread class: any thread, each with its own Issuer. Calls that take an Issuer& may do I/O:
// they block, reaping and settling (never delivering) that issuer's other requests meanwhile. All
// others touch memory only. What survives a crash: docs/format.md and the README's table of
// promises. In short: what a dsync write, fsync() or sync() covered before it returned; names and
// sizes younger than that, up to commit_interval_ms, may be lost, in order, never in part. Paths
// are absolute within the volume ("/a/b"); a leading '/' may be left out; '.', '..' and NUL are
// refused.
#pragma once

#include <handback/block_device.h>
#include <handback/error.h>
#include <handback/issuer.h>
#include <handback/page_cache.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace handback {

inline constexpr std::uint32_t fs_block_bytes_default = 4096;
inline constexpr std::size_t name_length_bytes_max = 255;
inline constexpr std::uint64_t file_size_bytes_max = std::uint64_t{1} << 60;
inline constexpr std::uint64_t volume_size_bytes_min = std::uint64_t{4} << 20;
inline constexpr std::uint64_t volume_size_bytes_max = std::uint64_t{1} << 56;

struct FormatOptions {
  std::string label = {};  // At most 63 bytes, no NUL.
  bool overwrite = false;  // Format over an existing volume; otherwise that is Errc::exists.
  // Keep a CRC-32C of each 4096-byte block of file data, and hold what is read against it: see
  // VolumeFile. Cannot be changed later. Older programs refuse such a volume.
  bool data_checksums = false;
};

struct VolumeOptions {
  bool read_only = false;
  // A change of metadata is committed at the latest this long after it was made, provided that the
  // issuer that opened the volume polls or waits; also by every fsync, sync, dsync write and close.
  std::uint32_t commit_interval_ms = 500;
  // Memory for buffered I/O of all files: pages, their records, their index. Taken as it is needed,
  // and never more than this; at least 1 MiB. 0: no page cache, buffered requests are refused.
  std::uint64_t page_cache_bytes_max = std::uint64_t{64} << 20;
};

struct RecoveryReport {
  bool clean = true;  // Nothing was replayed or torn: the volume had been closed.
  std::uint64_t checkpoint_generation = 0;
  std::uint64_t records_replayed = 0;  // Log records.
  std::uint64_t changes_replayed = 0;  // Metadata changes in them.
  // Writes that were on their way together with their log record, and of them those whose data was
  // not all there: they count as never made. None of these was acknowledged.
  std::uint64_t writes_checked = 0;
  std::uint64_t writes_dropped = 0;
  bool torn_record_dropped = false;  // The log ended in a record that never became durable.
  // Of a volume with data checksums: pages of 1008 blocks each whose checksums were not known to
  // fit, as after a crash, and those that were damaged. Their blocks are not verified until they
  // are written again.
  std::uint64_t checksum_pages_stale = 0;
  std::uint64_t checksum_pages_damaged = 0;
  bool backup_superblock_used = false;
};

enum class FileType : std::uint8_t { regular, directory };

struct FileInfo {
  std::uint64_t ino = 0;
  FileType type = FileType::regular;
  std::uint32_t nlink = 0;
  std::uint64_t size_bytes = 0;  // Of a directory: its number of entries.
  std::uint64_t allocated_bytes = 0;
  std::uint64_t extent_count = 0;
  std::int64_t mtime_ns =
      0;  // Since 1970. Of the last change of size (of a directory: of names), or set_mtime().
};

struct DirEntry {
  std::string name;
  FileInfo info;
};

struct ExtentInfo {
  std::uint64_t offset = 0;  // Bytes in the file.
  std::uint64_t addr = 0;    // Byte on the device.
  std::uint64_t length = 0;  // Bytes.
  bool unwritten = false;
};

struct VolumeInfo {
  std::string label;
  std::string id;  // The volume's UUID.
  std::uint32_t version_major = 0;
  std::uint32_t version_minor = 0;
  std::uint32_t fs_block_bytes = 0;
  bool data_checksums = false;
  std::uint64_t size_bytes = 0;
  std::uint64_t data_bytes = 0;      // What files can use at most.
  std::uint64_t free_bytes = 0;      // Includes what is freed by the next commit.
  std::uint64_t metadata_bytes = 0;  // In use, of metadata_bytes_max.
  std::uint64_t metadata_bytes_max = 0;
  std::uint64_t log_bytes = 0;
  std::uint64_t log_used_bytes = 0;
  std::uint64_t file_count = 0;
  std::uint64_t directory_count = 0;
  std::uint64_t extent_count = 0;
  // Of the newest checkpoint, 1 or more; and whether another one is being written.
  std::uint64_t checkpoint_generation = 0;
  bool checkpoint_running = false;
  // Memory for extents and free space, of all open volumes of this process.
  std::uint64_t extent_memory_bytes = 0;
  PageCacheInfo page_cache;
};

struct OpenFlags {
  bool create = false;     // Create the file if there is none.
  bool exclusive = false;  // With create: fail with `exists` if there is one.
  bool truncate = false;   // Make it empty.
  // Direct requests that are not aligned as the device needs go through the page cache instead of
  // being refused; such a write is on the device when it ends.
  bool unaligned_through_cache = false;
};

// How VolumeFile::preallocate() takes space.
enum class PreallocateMode : std::uint8_t {
  // Unwritten extents. Memory work only; the first write of each block changes metadata.
  reserved,
  // Zeros are written to the device and the extents count as written, so that later writes are pure
  // overwrites, which never change metadata. Blocks that were written before stay as they are.
  initialised,
};

struct PreallocateOptions {
  PreallocateMode mode = PreallocateMode::reserved;
  bool extend_size = false;  // A file that ends before the range's end ends there afterwards.
};

class Volume;

// An open file of a volume. Requests go through Issuer::submit() or run() with this File.
// Direct I/O (DIRECT): offset, every segment's length and address aligned as `geometry()` of the
// device says. Reads end at the file's size; holes and unwritten extents read as zeros. Writes
// allocate, extend the file if they end beyond its size, and with DSYNC or SYNC are durable with
// all that is needed to read them back. Errors of a request: invalid, not_supported, too_large,
// no_space, would_block, io, timed_out, read_only, poisoned. On a volume with data checksums, reads
// also fail with damaged (detail data_checksum): a block that the read covers wholly is not as it
// was written. Nothing of the read counts then, though its memory was written to. The checksum is
// taken of the memory as a write is submitted, so that memory must not change until the write has
// ended. What a request covers only in part is not verified; a block that was written in part is
// not known until it is written whole, nor is what a crash left behind (RecoveryReport). Reads and
// writes that overlap exclude each other.
//
// Buffered I/O (no DIRECT): any offset, length and memory. Reads come from the volume's page cache,
// and bring in what is missing, ahead of a reader that goes in order; a write is in the cache when
// it ends, and on the device after fsync(), close(), sync(), DSYNC, or when it is older than
// VolumeOptions::commit_interval_ms and the issuer that opened the volume polls or waits. Its space
// is taken at once, so that no_space comes at the write. Of a write that overlaps another buffered
// or direct one, all of one lies over all of the other; a read that overlaps a write may see a part
// of it, whole within each page.
//   NOWAIT: would_block where it would wait for a page, a range or memory; a read that misses is
//     started all the same. It may end with fewer bytes.
//   NOIO: of a read: would_block, or fewer bytes, where a page is not in the cache.
//   DONTCACHE: pages that the request brings in go when it is done with them; a write's write-back
//     is started.
//   WAITQ: page_wait.h; Aiocb does it for buffered reads. HIPRI is refused.
// Direct and buffered I/O on the same file, through any handles, agree with each other: a direct
// read finds what was written to the cache, and a direct write, once it has ended, is what buffered
// reads find. The file's size is that of both.
// A write-back that fails: each handle that was open then is told once, by its next fsync() or
// close(). The bytes stay in memory, and fsync() tries again: it succeeds only when they are down.
class VolumeFile : public File {
 public:
  // Requires: no request in flight on it through this handle. An unlinked file's space is freed
  // with its last handle.
  ~VolumeFile() override;

  [[nodiscard]] std::uint64_t ino() const noexcept;
  [[nodiscard]] std::uint64_t size() const noexcept;  // Bytes, now.
  [[nodiscard]] FileInfo info() const;
  [[nodiscard]] std::vector<ExtentInfo> extents() const;

  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override;
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override;
  [[nodiscard]] std::uint64_t file_id() const noexcept override { return ino(); }

  // Makes the file exactly this long: frees what lies beyond, or extends with a hole. Waits for
  // requests in flight beyond the new end, of any issuer of this process. Durable after the next
  // commit. Errors: too_large, read_only, poisoned, io, timed_out.
  [[nodiscard]] Result<void> truncate(Issuer& issuer, std::uint64_t size_bytes);

  // Allocates unwritten extents for the holes of the range, without changing the size.
  [[nodiscard]] Result<void> preallocate(std::uint64_t offset, std::uint64_t length);

  // The same, as the options say. Waits for requests in flight in the range (with extend_size also
  // for those behind it), and with `initialised` for the device. Durable after the next commit. If
  // it fails on the way, what was taken until then stays the file's, unwritten.
  // Errors: too_large, no_space (before anything changes, unless others take the space meanwhile),
  // not_found (no name any more), read_only, poisoned, io, timed_out, busy (frozen by this thread).
  [[nodiscard]] Result<void> preallocate(Issuer& issuer, std::uint64_t offset, std::uint64_t length,
                                         const PreallocateOptions& options);

  // Makes [offset, offset + length) read as zeros, whatever is in flight elsewhere; the size stays.
  // punch() frees the blocks that lie in the range entirely (with the file's last block, if the
  // range reaches its end); zero_range() keeps them allocated to the file, unwritten. Parts of
  // blocks at the edges are zeroed in place. Any alignment. Waits for requests in flight in these
  // blocks, of any issuer of this process. Durable after the next commit; a power cut before may
  // leave the edges zeroed alone. Errors: too_large, no_space (detail: the metadata area is full),
  // read_only, poisoned, io, timed_out, busy (frozen by this thread).
  [[nodiscard]] Result<void> punch(Issuer& issuer, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] Result<void> zero_range(Issuer& issuer, std::uint64_t offset, std::uint64_t length);

  // Returns when every request on this file that was delivered before, buffered ones too, and its
  // metadata, are durable.
  [[nodiscard]] Result<void> fsync(Issuer& issuer);

  // Writes back what buffered writes have left in the page cache, without making it durable, and
  // tells of write-backs that have failed since this handle was told last. To be called before the
  // handle goes by whoever wants to know; what is dirty then is written back in any case, by
  // Volume::close() at the latest. Errors: io, no_space, poisoned, timed_out, busy (frozen by this
  // thread).
  [[nodiscard]] Result<void> close(Issuer& issuer);

  [[nodiscard]] Result<void> set_mtime(std::int64_t mtime_ns);

  struct Impl;

 private:
  friend class Volume;
  explicit VolumeFile(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

class Volume {
 public:
  // Writes an empty volume over the whole device.
  // Errors: exists (a volume is there and overwrite is false), too_large, invalid (too small),
  // read_only, io.
  [[nodiscard]] static Result<void> format(Issuer& issuer, BlockDevice& device,
                                           const FormatOptions& options = {});

  // Lets a volume that nobody has open use all of its device, which has become larger. Its log and
  // its room for metadata stay as they were. A power cut leaves it as it was, or grown. Afterwards
  // older programs, which do not know of growing, refuse it. Returns its size in bytes; if there is
  // nothing to gain, nothing is written. Errors: as open(), read_only, too_large, not_supported.
  [[nodiscard]] static Result<std::uint64_t> grow(Issuer& issuer, BlockDevice& device);

  // Opens, recovers if needed, and reports. Writes nothing until everything was checked.
  // Errors: damaged (names block and reason), version, invalid (no volume), io, busy (open in this
  // process).
  [[nodiscard]] static Result<std::unique_ptr<Volume>> open(Issuer& issuer, BlockDevice& device,
                                                            const VolumeOptions& options = {});

  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;
  // Without close(): as if the process had been killed now, except that nothing may be in flight.
  ~Volume();

  // Commits and writes a checkpoint, so that the next open has nothing to replay. No call may
  // follow. Requires: every VolumeFile is gone. Errors: poisoned, io, timed_out.
  [[nodiscard]] Result<void> close(Issuer& issuer);

  [[nodiscard]] const RecoveryReport& recovery() const noexcept;
  [[nodiscard]] VolumeInfo info() const;
  [[nodiscard]] BlockDevice& device() const noexcept;

  // Errors: not_found, exists, is_a_directory, not_a_directory, too_large (name), invalid (name),
  // no_space,
  //         read_only, poisoned. The namespace calls below: the same.
  [[nodiscard]] Result<std::unique_ptr<VolumeFile>> open_file(Issuer& issuer, std::string_view path,
                                                              OpenFlags flags = {});
  [[nodiscard]] Result<void> mkdir(std::string_view path);
  // Gives a file one more name; none of its names is more the file's than another. Not for
  // directories. fsync() of the file, sync_directory() of the new name's directory and sync() make
  // it durable.
  [[nodiscard]] Result<void> link(std::string_view existing, std::string_view path);
  // Removes a name; the file goes with its last name and handle. Not for directories.
  [[nodiscard]] Result<void> unlink(std::string_view path);
  // Errors: not_empty, too.
  [[nodiscard]] Result<void> rmdir(std::string_view path);
  // Atomic; replaces a file by a file, or an empty directory by a directory. Where both names are
  // the same file already, nothing happens, and both stay.
  // Errors: invalid, too, where a directory would move into itself.
  [[nodiscard]] Result<void> rename(std::string_view from, std::string_view to);

  [[nodiscard]] Result<FileInfo> stat(std::string_view path) const;
  // In order of names (bytewise).
  [[nodiscard]] Result<std::vector<DirEntry>> list(std::string_view path) const;

  // Returns when every change of names in this directory that was made before is durable, and the
  // directory's own creation and move. Says nothing of data. Errors: not_found, not_a_directory,
  // poisoned, io, busy (frozen by this thread).
  [[nodiscard]] Result<void> sync_directory(Issuer& issuer, std::string_view path);

  // Returns when every change made before is durable. The data of requests delivered before, too.
  [[nodiscard]] Result<void> sync(Issuer& issuer);

  // Holds the device still, for a copy of it that is taken from outside: waits until the writes in
  // flight on all files have settled, whoever issued them and whatever their threads are doing,
  // makes all metadata durable, and flushes. From its return until thaw() nothing of this volume is
  // written, and opening a copy finds all that was acknowledged before.
  // Meanwhile reads go on and names and sizes can change in memory. Writes stand in line (NOWAIT
  // ones fail with would_block): their submission does not block. Calls that need the device
  // (truncate; fsync and sync if there is something to commit) wait for the thaw, except on the
  // thread that froze: there they fail with `busy`, since nobody else may be there to thaw.
  // Any thread may thaw; close() does. Errors: busy (frozen already), read_only, poisoned, io;
  // after an error the volume is not frozen.
  [[nodiscard]] Result<void> freeze(Issuer& issuer);
  // Lets what stood in line go on. Errors: invalid (not frozen).
  [[nodiscard]] Result<void> thaw(Issuer& issuer);
  [[nodiscard]] bool frozen() const;

 private:
  friend class VolumeImpl;
  explicit Volume(std::unique_ptr<class VolumeImpl> impl) noexcept;
  std::unique_ptr<class VolumeImpl> impl_;
};

// One finding of check_volume(): where, what is wrong, and what follows from it.
struct CheckFinding {
  std::uint64_t block = 0;  // Fs block on the device.
  // "superblock", "root", "checkpoint", "inode", "extent", "directory", "log", "checksum page",
  // "data".
  std::string structure;
  std::string field;
  std::string problem;
  std::string consequence;
  bool refuses_open = false;  // Volume::open() fails with `damaged`, for this or another finding.
};

struct CheckReport {
  // At most check_findings_max of them. Empty: the volume is consistent.
  std::vector<CheckFinding> findings;
  std::uint64_t findings_total = 0;
  VolumeInfo info;          // As far as it could be read.
  RecoveryReport recovery;  // What opening it would do.
  std::uint64_t blocks_read = 0;
};

struct CheckOptions {
  // Of a volume with data checksums: also read all data whose checksum is known, and name each
  // block that does not fit (structure "data").
  bool data = false;
};

inline constexpr std::size_t check_findings_max = 10'000;

// Reads all metadata and holds it against the rules of docs/format.md. Never writes. Goes on behind
// damage wherever more can be told from what is left: only what cannot be read at all (a checkpoint
// block, bytes behind an entry that is none) hides what would be in it.
// Errors: invalid (no volume at all), version, io, busy (open in this process).
[[nodiscard]] Result<CheckReport> check_volume(Issuer& issuer, BlockDevice& device,
                                               const CheckOptions& options = {});

}  // namespace handback
