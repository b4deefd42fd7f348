// What some writes need before they can start: a clean tail. It is rare, so it may allocate.
#pragma once

#include <handback/kiocb.h>

#include "volume/tail_cleaner.h"
#include "volume/volume_file.h"

namespace handback {

// Cleans the file's tail, then starts the write, with what it holds in the page cache; if it cannot
// start, that ends here. Returns as File::write_iter does.
Outcome write_after_tail(VolumeFile::Impl& file, Kiocb& kiocb, IovView from, void* hold) noexcept;

// What follows when cleaning failed.
void tail_failed(VolumeImpl& volume, const TailCleaner& cleaner) noexcept;

}  // namespace handback
