// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_subjects.h"

#include "base/bpf_object.h"
#include "bpf/block.skel.h"
#include "bpf/memory.skel.h"
#include "bpf/sched.skel.h"
#include "bpf/tasks.skel.h"
#include "bpf/tcp.skel.h"

namespace faultline {

std::vector<BpfSubject> BpfSubjects(bool wakeup_stamps) {
  BpfNeeds wait = {"runq_wait", {"sched_switch"}};
  if (wakeup_stamps) {
    wait = {"runq_wait",
            {"sched_switch", "sched_wakeup", "sched_wakeup_new"},
            "wakeup_stamps",
            "task_queued"};
  }
  return {
      {"sched",
       SkeletonBytes<sched_bpf>,
       "cpu",
       {{"cpu_time", {"sched_switch"}},
        {"ctx_switches", {"sched_switch"}},
        {"cpu_busy", {"sched_switch"}},
        wait,
        {"offcpu", {"sched_switch"}}},
       {"charge_running"}},
      {"block",
       SkeletonBytes<block_bpf>,
       "io",
       {{"disk_bytes", {"block_end"}},
        {"disk_ops", {"block_end"}},
        {"disk_latency", {"block_issue", "block_end"}},
        {"cg_disk_bytes", {"block_end"}},
        {"cg_disk_ops", {"block_end"}}},
       {}},
      {"tcp",
       SkeletonBytes<tcp_bpf>,
       "",
       {{"tcp_rtt", {"tcp_packet"}},
        {"tcp_retrans", {"tcp_again", "tcp_synack"}},
        {"tcp_conns", {"tcp_state"}},
        {"tcp_connect", {"tcp_state"}, "connect_on", "tcp_connecting"}},
       {}},
      {"memory",
       SkeletonBytes<memory_bpf>,
       "memory",
       {{"direct_reclaim", {"direct_begin", "direct_end"}},
        {"memcg_reclaim", {"memcg_begin", "memcg_end"}},
        {"oom_kills", {"oom_victim"}}},
       {}},
      {"tasks",
       SkeletonBytes<tasks_bpf>,
       "memory",
       {{"page_faults", {"tasks_visit", "task_exit"}}},
       {"tasks_visit"}},
  };
}

}  // namespace faultline
