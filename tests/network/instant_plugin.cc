// A CNI plugin that does nothing, as fast as a program can: what is left is the runtime's own time.
#include <unistd.h>

int main() {
  char buffer[4096];
  while (read(0, buffer, sizeof buffer) > 0) {
  }
  constexpr char kResult[] =
      R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],)"
      R"("ips":[{"address":"10.1.2.3/24","interface":0}]})";
  return write(1, kResult, sizeof kResult - 1) == sizeof kResult - 1 ? 0 : 1;
}
