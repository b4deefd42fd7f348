// gnuplot, which draws what was measured. It is a program of its own and need not be there.
#pragma once

#include <string>

namespace tool {

// Before long work whose result is to be drawn. Throws Failure, which names the package.
void require_gnuplot();

// Runs the script with an SVG terminal and writes what it draws to `path`. Throws Failure.
void draw_svg(const std::string& script, const std::string& path);

}  // namespace tool
