// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * net.rate, net.delay and the standing plane:
 *  steer       cgroup_skb/egress: gives the packets of one cgroup the classid of the fault's class.
 *  plane_sink  filter of the plane's sink class: loses what comes, and htb says success.
 *  plane_noop  tcx egress, kept standing on lo and on devices with a plane
 * (injector/host/tcx_links.h): later links of the machine work at once, and its own program is
 * exchanged at once.
 */
#include "fault.bpf.h"

#define TCX_NEXT    -1
#define TC_ACT_SHOT 2
#define CGROUP_PASS 1

/*
 * CLOCK_BOOTTIME: who ends the fault has it go on past the deadline until then, so that what comes
 * does not overtake what waits. Nobody does of an injector that stands still.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} steer_until SEC(".maps");

/* Not 0: a packet was let go. A fault that is over does not begin anew, however late it is told. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} steer_over SEC(".maps");

static __always_inline bool over(__u64 now)
{
	__u32 key = 0;
	__u64 *until, *ended;

	if (now <= rule.deadline_ns)
		return false;
	until = bpf_map_lookup_elem(&steer_until, &key);
	ended = bpf_map_lookup_elem(&steer_over, &key);
	if (!until || !ended || *ended)
		return true;
	if (now <= *until)
		return false;
	*ended = now;
	return true;
}

SEC("cgroup_skb/egress")
int steer(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_boot_ns();

	/* What a loss fault has given to the sink stays lost. */
	if (skb->ifindex != rule.ifindex || skb->priority == FAULT_SINK_CLASS)
		return CGROUP_PASS;
	/* Last: only what the fault would have met says that it is over. */
	if (!fault_level(&rule, now) || !matches(skb, true) || over(now))
		return CGROUP_PASS;
	count_hit(skb, now);
	skb->priority = rule.priority;
	return CGROUP_PASS;
}

SEC("tc")
int plane_sink(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("tc")
int plane_noop(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
