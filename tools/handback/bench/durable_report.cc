// How the costs of durable operations are printed.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "handback/bench/durable_operations.h"

namespace tool {
namespace {

std::string number(double value) {
  return std::fabs(value - std::round(value)) < 0.05 ? fmt::format("{:.0f}", value)
                                                     : fmt::format("{:.1f}", value);
}

std::string counted(double value, const char* one, const char* many) {
  const std::string text = number(value);
  return fmt::format("{} {}", text, text == "1" ? one : many);
}

}  // namespace

std::string describe(DurableOperation operation) {
  switch (operation) {
    case DurableOperation::overwrite:
      return "overwrite 4 KiB";
    case DurableOperation::append:
      return "append 4 KiB";
    case DurableOperation::create:
      return "create, write 4 KiB, fsync";
    case DurableOperation::replace:
      return "create, write 4 KiB, fsync, rename over, sync the folder";
    case DurableOperation::rename:
      return "rename, sync the folder";
    case DurableOperation::truncate:
      return "truncate to nothing, fsync";
    case DurableOperation::link:
      return "link, sync the folder";
  }
  return "";
}

std::string describe(const OperationCost& cost) {
  std::string text = cost.fua_writes > 0 && std::fabs(cost.fua_writes - cost.writes) < 0.05
                         ? counted(cost.writes, "FUA write", "FUA writes")
                         : counted(cost.writes, "write", "writes");
  if (cost.fua_writes > 0 && std::fabs(cost.fua_writes - cost.writes) >= 0.05) {
    text += fmt::format(" ({} FUA)", number(cost.fua_writes));
  }
  if (cost.flushes > 0) text += ", " + counted(cost.flushes, "flush", "flushes");
  return text;
}

nlohmann::ordered_json durable_json(const std::vector<DurableColumn>& columns) {
  auto rows = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < durable_operations.size(); ++i) {
    for (const DurableColumn& column : columns) {
      rows.push_back({{"operation", describe(durable_operations[i])},
                      {"target", column.target},
                      {"device", column.device},
                      {"writes", column.costs[i].writes},
                      {"fua_writes", column.costs[i].fua_writes},
                      {"flushes", column.costs[i].flushes}});
    }
  }
  return {{"bench", "durable-operations"}, {"rows", std::move(rows)}};
}

std::string durable_markdown(const std::vector<DurableColumn>& columns) {
  std::vector<std::string> cells{"operation"};
  for (const DurableColumn& column : columns)
    cells.push_back(fmt::format("{}, {}", column.target, column.device));
  std::string text = fmt::format("| {} |\n|---", fmt::join(cells, " | "));
  for (std::size_t i = 0; i < columns.size(); ++i)
    text += "|---";
  text += "|\n";
  for (std::size_t i = 0; i < durable_operations.size(); ++i) {
    cells = {describe(durable_operations[i])};
    for (const DurableColumn& column : columns)
      cells.push_back(describe(column.costs[i]));
    text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  }
  return text;
}

}  // namespace tool
