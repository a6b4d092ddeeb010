#include "server/statistics/cri_usage.h"

#include <algorithm>

namespace berth {
namespace {

constexpr uint64_t kNanosPerMicro = 1000;

// Sets `value` of the sub-message that `mutable_field` makes, if there is one.
template <typename Message>
void Set(Count value, Message* message, cri::UInt64Value* (Message::*mutable_field)()) {
  if (value.has_value()) (message->*mutable_field)()->set_value(*value);
}

void SetLine(const Pressure::Line& line, cri::PsiData* out) {
  out->set_total(line.total_us * kNanosPerMicro);
  out->set_avg10(line.avg10);
  out->set_avg60(line.avg60);
  out->set_avg300(line.avg300);
}

template <typename Message>
void SetPressure(const std::optional<Pressure>& pressure, Message* message) {
  if (!pressure.has_value()) return;
  SetLine(pressure->some, message->mutable_psi()->mutable_some());
  SetLine(pressure->full, message->mutable_psi()->mutable_full());
}

void AddCount(Count part, Count* sum) {
  if (part.has_value()) *sum = sum->value_or(0) + *part;
}

}  // namespace

cri::CpuUsage CpuUsageOf(const CpuUse& cpu, Count rate, int64_t at_ns) {
  cri::CpuUsage usage;
  usage.set_timestamp(at_ns);
  Set(cpu.usage_ns, &usage, &cri::CpuUsage::mutable_usage_core_nano_seconds);
  Set(rate, &usage, &cri::CpuUsage::mutable_usage_nano_cores);
  SetPressure(cpu.pressure, &usage);
  return usage;
}

cri::MemoryUsage MemoryUsageOf(const MemoryUse& memory, int64_t at_ns) {
  cri::MemoryUsage usage;
  usage.set_timestamp(at_ns);
  Set(memory.WorkingSet(), &usage, &cri::MemoryUsage::mutable_working_set_bytes);
  Set(memory.Available(), &usage, &cri::MemoryUsage::mutable_available_bytes);
  Set(memory.usage, &usage, &cri::MemoryUsage::mutable_usage_bytes);
  Set(memory.rss, &usage, &cri::MemoryUsage::mutable_rss_bytes);
  Set(memory.page_faults, &usage, &cri::MemoryUsage::mutable_page_faults);
  Set(memory.major_page_faults, &usage, &cri::MemoryUsage::mutable_major_page_faults);
  SetPressure(memory.pressure, &usage);
  return usage;
}

cri::SwapUsage SwapUsageOf(const MemoryUse& memory, int64_t at_ns) {
  cri::SwapUsage usage;
  usage.set_timestamp(at_ns);
  Set(memory.swap, &usage, &cri::SwapUsage::mutable_swap_usage_bytes);
  if (memory.swap.has_value() && memory.swap_limit.has_value()) {
    const uint64_t left = *memory.swap_limit - std::min(*memory.swap_limit, *memory.swap);
    usage.mutable_swap_available_bytes()->set_value(left);
  }
  return usage;
}

cri::IoUsage IoUsageOf(const IoUse& io, int64_t at_ns) {
  cri::IoUsage usage;
  usage.set_timestamp(at_ns);
  SetPressure(io.pressure, &usage);
  return usage;
}

cri::NetworkUsage NetworkUsageOf(const std::vector<InterfaceCounters>& interfaces, int64_t at_ns) {
  cri::NetworkUsage usage;
  usage.set_timestamp(at_ns);
  for (const InterfaceCounters& counters : interfaces) {
    cri::NetworkInterfaceUsage* interface = usage.add_interfaces();
    interface->set_name(counters.name);
    interface->mutable_rx_bytes()->set_value(counters.rx_bytes);
    interface->mutable_rx_errors()->set_value(counters.rx_errors);
    interface->mutable_tx_bytes()->set_value(counters.tx_bytes);
    interface->mutable_tx_errors()->set_value(counters.tx_errors);
    if (!usage.has_default_interface() || counters.name == "eth0") {
      *usage.mutable_default_interface() = *interface;
    }
  }
  return usage;
}

void AddUp(const CgroupStats& part, CgroupStats* sum) {
  AddCount(part.cpu.usage_ns, &sum->cpu.usage_ns);
  AddCount(part.memory.usage, &sum->memory.usage);
  AddCount(part.memory.inactive_file, &sum->memory.inactive_file);
  AddCount(part.memory.rss, &sum->memory.rss);
  AddCount(part.memory.page_faults, &sum->memory.page_faults);
  AddCount(part.memory.major_page_faults, &sum->memory.major_page_faults);
  AddCount(part.pids.current, &sum->pids.current);
}

}  // namespace berth
