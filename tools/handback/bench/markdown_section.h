// A page of which programs write some sections and people the rest.
#pragma once

#include <string>
#include <string_view>

namespace tool {

// `page` with the section `name` replaced by `text`, or added at the end. A section lies between
// two comments that carry its name; all else is left as it is.
// Throws Failure if the section begins and does not end.
[[nodiscard]] std::string with_section(const std::string& page, std::string_view name,
                                       std::string_view text);

// Does that to the file, whole or not at all; makes it if it is missing. Throws Failure.
void write_section(const std::string& path, std::string_view name, std::string_view text);

}  // namespace tool
