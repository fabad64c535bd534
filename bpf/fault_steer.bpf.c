// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * net.rate and the standing plane:
 *  steer_rate  cgroup_skb/egress: gives the packets of one cgroup the classid of the fault's class.
 *  plane_sink  filter of the plane's sink class: loses what comes, and htb says success.
 *  plane_noop  tcx egress, kept standing on lo: the first tcx link of a machine takes effect only
 *              after a grace period, every later one within 0.1 ms.
 */
#include "fault.bpf.h"

#define TCX_NEXT    -1
#define TC_ACT_SHOT 2
#define CGROUP_PASS 1

SEC("cgroup_skb/egress")
int steer_rate(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_boot_ns();

	/* What a loss fault has given to the sink stays lost. */
	if (skb->ifindex != rule.ifindex || skb->priority == FAULT_SINK_CLASS)
		return CGROUP_PASS;
	if (now > rule.deadline_ns || !matches(skb, true))
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
