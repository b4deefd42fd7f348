#include "common/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "common/failure.h"
#include "common/host_fd.h"

namespace tool {
namespace {

constexpr std::size_t read_bytes = 256U << 10;

void require(int openssl_result) {
  if (openssl_result != 1)
    throw Failure(exit_failed, "SHA-256: OpenSSL refuses; is it in FIPS mode?");
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;

void Sha256::start() {
  require(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr));
}

void Sha256::add(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()));
}

Digest Sha256::finish() {
  Digest digest{};
  require(EVP_DigestFinal_ex(context_->evp, digest.data(), nullptr));
  return digest;
}

Digest sha256_of_host_file(const std::string& path) {
  const HostFd host(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (host.get() < 0) throw failure_of_errno(errno, path);
  std::vector<std::byte> buffer(read_bytes);
  Sha256 sha;
  sha.start();
  for (;;) {
    const ssize_t bytes = read(host.get(), buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) throw failure_of_errno(errno, path);
    if (bytes == 0) return sha.finish();
    sha.add(std::span(buffer).first(static_cast<std::size_t>(bytes)));
  }
}

}  // namespace tool
