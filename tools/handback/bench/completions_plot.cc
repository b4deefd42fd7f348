#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "handback/bench/completions_report.h"

namespace tool {
namespace {

// Colours that the colour-blind tell apart, one for each of completion_routes; then the series.
constexpr std::array route_colours{"#009e73", "#0072b2", "#d55e00"};
constexpr const char* series_colour = "#b0b0b0";

// gnuplot ends a string at a quote and reads two as one.
std::string quoted(std::string text) {
  for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2)
    text.insert(at, 1, '\'');
  return "'" + text + "'";
}

// Depth by depth: thousands of IOPS by route; then gains in percent: of issuer over worker with the
// least and most of the pairs, and the series'.
std::string data_block(const CompletionsResult& result) {
  std::string data = "$data << END\n";
  for (const auto& at : result.depths) {
    data += fmt::format("{}", at.depth);
    for (std::size_t route = 0; route < completion_routes.size(); ++route)
      data += fmt::format(" {:.3f}", at.figures(route).iops / 1e3);
    const PairRatios issuer = at.over_worker(issuer_index);
    for (const double ratio : {issuer.median, issuer.least, issuer.most})
      data += fmt::format(" {:.2f}", (ratio - 1) * 100);
    const auto series = series_ratio(at.depth);
    data += series ? fmt::format(" {:.2f}\n", (*series - 1) * 100) : " NaN\n";
  }
  return data + "END\n";
}

}  // namespace

std::string completions_plot(const CompletionsResult& result) {
  std::string script =
      "set terminal svg size 1000,430 font 'sans-serif,13' background '#ffffff' enhanced\n" +
      data_block(result);
  script += fmt::format(
      "set multiplot layout 1,2 title {} font ',15' noenhanced\n",
      quoted(fmt::format("4 KiB random overwrites: {}, {} worker{}", result.description,
                         result.options.workers, result.options.workers == 1 ? "" : "s")));
  script += fmt::format(
      "set border 3 lc rgb '#606060'\n"
      "set tics nomirror out textcolor rgb '#303030'\n"
      "set grid ytics lc rgb '#e0e0e0' lt 1\n"
      "set xlabel 'requests in flight'\n"
      "set key below center horizontal reverse Left samplen 1.5 maxrows 1\n"
      // By place, not by value: depths are powers of two as a rule.
      "set xrange [-0.6:{}.6]\n"
      "set offsets 0,0,graph 0.08,0\n"
      "set title 'thousand IOPS' font ',13'\n"
      "set yrange [0:*]\n"
      "plot ",
      result.depths.size() - 1);
  for (std::size_t route = 0; route < completion_routes.size(); ++route) {
    script += fmt::format(
        "{}$data using 0:{}:xtic(1) with linespoints lw 2.5 pt 7 ps 0.6 lc rgb '{}' title '{}'",
        route == 0 ? "" : ", ", route + 2, route_colours[route],
        handback::to_string(completion_routes[route]));
  }
  script += fmt::format(
      "\nset title 'issuer over worker, %, with the spread of the pairs' font ',13'\n"
      "set yrange [*:*]\n"
      "set xzeroaxis lt 1 lc rgb '#606060'\n"
      "set boxwidth 0.36\nset style fill solid\n"
      "plot $data using 0:(NaN):xtic(1) notitle, "
      "$data using ($0-0.2):5 with boxes lc rgb '{}' title 'here', "
      "$data using ($0-0.2):6:(0):($7-$6) with vectors heads size 0.05,90 lw 1.5 "
      "lc rgb '#303030' notitle, "
      "$data using ($0-0.2):($7 > 0 ? $7 : 0):(sprintf('%+.0f', $5)) with labels offset 0,0.6 "
      "font ',11' notitle",
      route_colours[issuer_index]);
  // gnuplot cannot draw boxes none of which has a height.
  if (std::any_of(result.depths.begin(), result.depths.end(), [](const CompletionsAtDepth& at) {
        return series_ratio(at.depth).has_value();
      })) {
    script += fmt::format(
        ", $data using ($0+0.2):8 with boxes lc rgb '{}' title 'series, July 2023', "
        "$data using ($0+0.2):8:(sprintf('%+.1f', $8)) with labels offset 0,0.6 font ',11' "
        "notitle",
        series_colour);
  }
  script += "\nunset multiplot\n";
  return script;
}

}  // namespace tool
