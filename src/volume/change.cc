#include "volume/change.h"

namespace handback {

std::string_view to_string(ChangeKind kind) noexcept {
  switch (kind) {
    case ChangeKind::create:
      return "create";
    case ChangeKind::remove_name:
      return "remove_name";
    case ChangeKind::rename:
      return "rename";
    case ChangeKind::set_size:
      return "set_size";
    case ChangeKind::map:
      return "map";
    case ChangeKind::set_mtime:
      return "set_mtime";
    case ChangeKind::write:
      return "write";
    case ChangeKind::unmap:
      return "unmap";
    case ChangeKind::grow:
      return "grow";
    case ChangeKind::link:
      return "link";
    case ChangeKind::overwrite:
      return "overwrite";
  }
  return "unknown";
}

void change_encode(const Change& change, std::vector<std::byte>& bytes) {
  ByteWriter out(bytes);
  out.put(static_cast<std::uint8_t>(change.kind));
  switch (change.kind) {
    case ChangeKind::create:
      out.put(change.parent);
      out.put(change.ino);
      out.put(static_cast<std::uint8_t>(change.type));
      out.put(change.mtime_ns);
      out.put_string(change.name);
      break;
    case ChangeKind::remove_name:
      out.put(change.parent);
      out.put(change.mtime_ns);
      out.put_string(change.name);
      break;
    case ChangeKind::rename:
      out.put(change.parent);
      out.put(change.parent_to);
      out.put(change.mtime_ns);
      out.put_string(change.name);
      out.put_string(change.name_to);
      break;
    case ChangeKind::write:
      out.put(change.ino);
      out.put(change.write_id);
      out.put(change.required_end);
      out.put(change.end);
      out.put(change.mtime_ns);
      out.put(static_cast<std::uint16_t>(change.pieces.size()));
      for (const WritePiece& piece : change.pieces) {
        out.put(piece.offset);
        out.put(piece.addr);
        out.put(piece.length);
        out.put(piece.crc);
        out.put(static_cast<std::uint8_t>(piece.maps ? 1 : 0));
      }
      break;
    case ChangeKind::grow:
    case ChangeKind::set_size:
      out.put(change.ino);
      out.put(change.size_bytes);
      out.put(change.mtime_ns);
      break;
    case ChangeKind::map:
      out.put(change.ino);
      out.put(change.offset);
      out.put(change.addr);
      out.put(change.count);
      out.put(static_cast<std::uint8_t>(change.unwritten ? 1 : 0));
      break;
    case ChangeKind::unmap:
      out.put(change.ino);
      out.put(change.offset);
      out.put(change.block_count);
      break;
    case ChangeKind::set_mtime:
      out.put(change.ino);
      out.put(change.mtime_ns);
      break;
    case ChangeKind::link:
      out.put(change.parent);
      out.put(change.ino);
      out.put(change.mtime_ns);
      out.put_string(change.name);
      break;
    case ChangeKind::overwrite:
      out.put(change.page);
      break;
  }
}

bool change_decode(ByteReader& in, Change* change) {
  *change = Change{};
  change->kind = static_cast<ChangeKind>(in.get<std::uint8_t>());
  switch (change->kind) {
    case ChangeKind::create: {
      change->parent = in.get<std::uint64_t>();
      change->ino = in.get<std::uint64_t>();
      const auto type = in.get<std::uint8_t>();
      if (type > static_cast<std::uint8_t>(FileType::directory)) return false;
      change->type = static_cast<FileType>(type);
      change->mtime_ns = in.get<std::int64_t>();
      change->name = in.get_string();
      return in.ok();
    }
    case ChangeKind::remove_name:
      change->parent = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      change->name = in.get_string();
      return in.ok();
    case ChangeKind::rename:
      change->parent = in.get<std::uint64_t>();
      change->parent_to = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      change->name = in.get_string();
      change->name_to = in.get_string();
      return in.ok();
    case ChangeKind::write:
      change->ino = in.get<std::uint64_t>();
      change->write_id = in.get<std::uint64_t>();
      change->required_end = in.get<std::uint64_t>();
      change->end = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      change->encoded_pieces = in.get_bytes(in.get<std::uint16_t>() * write_piece_bytes);
      return in.ok();
    case ChangeKind::grow:
    case ChangeKind::set_size:
      change->ino = in.get<std::uint64_t>();
      change->size_bytes = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      return in.ok();
    case ChangeKind::map: {
      change->ino = in.get<std::uint64_t>();
      change->offset = in.get<std::uint64_t>();
      change->addr = in.get<std::uint64_t>();
      change->count = in.get<std::uint32_t>();
      const auto unwritten = in.get<std::uint8_t>();
      change->unwritten = unwritten == 1;
      return in.ok() && unwritten <= 1;
    }
    case ChangeKind::unmap:
      change->ino = in.get<std::uint64_t>();
      change->offset = in.get<std::uint64_t>();
      change->block_count = in.get<std::uint64_t>();
      return in.ok();
    case ChangeKind::set_mtime:
      change->ino = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      return in.ok();
    case ChangeKind::link:
      change->parent = in.get<std::uint64_t>();
      change->ino = in.get<std::uint64_t>();
      change->mtime_ns = in.get<std::int64_t>();
      change->name = in.get_string();
      return in.ok();
    case ChangeKind::overwrite:
      change->page = in.get<std::uint64_t>();
      return in.ok();
  }
  return false;
}

std::vector<WritePiece> change_pieces(const Change& change) {
  std::vector<WritePiece> pieces(change.encoded_pieces.size() / write_piece_bytes);
  ByteReader in(change.encoded_pieces);
  for (WritePiece& piece : pieces) {
    piece.offset = in.get<std::uint64_t>();
    piece.addr = in.get<std::uint64_t>();
    piece.length = in.get<std::uint32_t>();
    piece.crc = in.get<std::uint32_t>();
    piece.maps = in.get<std::uint8_t>() != 0;
  }
  return pieces;
}

}  // namespace handback
