#include "common/paths.h"

#include "common/failure.h"

namespace tool {

std::string normal_path(std::string_view path) {
  std::string normal;
  std::size_t place = 0;
  while (place < path.size()) {
    const std::size_t begin = path.find_first_not_of('/', place);
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(path.find('/', begin), path.size());
    normal += '/';
    normal += path.substr(begin, end - begin);
    place = end;
  }
  return normal.empty() ? "/" : normal;
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (path.empty() || path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string parent_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos || slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

std::string base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

void make_directories(handback::Volume& volume, const std::string& path) {
  // The whole path first: if it can never be made, its beginning is not made either.
  const auto whole = volume.stat(path);
  if (!whole && whole.error().code() != handback::Errc::not_found) {
    throw failure_of(whole.error(), path);
  }
  if (path == "/") return;
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    const auto info = volume.stat(part);
    if (info && info->type != handback::FileType::directory) {
      throw Failure(exit_failed, part + ": is a file, not a directory; choose another path");
    }
    if (info) continue;
    if (info.error().code() != handback::Errc::not_found) throw failure_of(info.error(), part);
    value_of(volume.mkdir(part), part);
  }
}

namespace {

// The volume refuses such names; but an image may come from anywhere, and on the host they lead
// elsewhere.
void require_plain_name(const std::string& name, const std::string& directory) {
  if (!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
      name.find('\0') == std::string::npos) {
    return;
  }
  throw Failure(exit_not_a_volume,
                directory + ": holds a name that no volume may hold; run handback check");
}

}  // namespace

std::vector<VolumeEntry> list_tree(const handback::Volume& volume, const std::string& path) {
  std::vector<VolumeEntry> found;
  std::vector<VolumeEntry> waiting{{path, value_of(volume.stat(path), path)}};
  while (!waiting.empty()) {
    VolumeEntry entry = std::move(waiting.back());
    waiting.pop_back();
    if (entry.info.type == handback::FileType::directory) {
      auto children = value_of(volume.list(entry.path), entry.path);
      for (auto child = children.rbegin(); child != children.rend(); ++child) {
        require_plain_name(child->name, entry.path);
        waiting.push_back({join_path(entry.path, child->name), child->info});
      }
    }
    found.push_back(std::move(entry));
  }
  return found;
}

}  // namespace tool
