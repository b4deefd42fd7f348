// The program `handback`.
#include <string>
#include <vector>

#include "handback/command_line.h"

int main(int argc, char** argv) {
  return tool::run_command_line(std::vector<std::string>(argv + 1, argv + argc));
}
