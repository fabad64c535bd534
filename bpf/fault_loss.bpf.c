// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * net.loss: packets of one cgroup that never arrive. Three hooks for one decision; a fault loads
 * the one that it needs:
 *  loss_in    cgroup_skb/ingress: a drop before the socket is real loss.
 *  loss_out   tcx egress: a redirect to no device is real loss; TC_ACT_SHOT is not, as the sender's
 *             TCP is told and sends again at once.
 *  loss_mark  cgroup_skb/egress, for kernels before 6.6: steers into the sink class of the standing
 *             plane, which loses what it gets.
 * The n-th matching buffer meets the n-th draw of the seed, so a fault can be repeated; a shape
 * moves the bound that the draw is held against.
 */
#include "fault.bpf.h"

#define TCX_NEXT    -1
#define CGROUP_DROP 0
#define CGROUP_PASS 1

/* A spin lock, as atomic add with its result needs 5.12 (arm64: 5.18). */
struct fault_sequence {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fault_sequence);
} fault_sequence SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} fault_cgroup SEC(".maps");

static __always_inline bool drawn(__u64 loss_ppm)
{
	struct fault_sequence *sequence;
	__u32 key = 0;
	__u64 n;

	sequence = bpf_map_lookup_elem(&fault_sequence, &key);
	if (!sequence)
		return false;
	bpf_spin_lock(&sequence->lock);
	n = sequence->next++;
	bpf_spin_unlock(&sequence->lock);
	return fault_draw(rule.seed, n) < loss_ppm;
}

static __always_inline bool lost(struct __sk_buff *skb, bool egress)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u64 level = fault_level(&rule, now);

	/* Between two pulses there is no fault: nothing is drawn for, nothing is counted. */
	if (now > rule.deadline_ns || !level || !matches(skb, egress))
		return false;
	if (!drawn(rule.loss_ppm * level / FAULT_FULL)) {
		count_pass(skb);
		return false;
	}
	count_hit(skb, now);
	return true;
}

SEC("cgroup_skb/ingress")
int loss_in(struct __sk_buff *skb)
{
	return lost(skb, false) ? CGROUP_DROP : CGROUP_PASS;
}

SEC("tc")
int loss_out(struct __sk_buff *skb)
{
	if (bpf_skb_under_cgroup(skb, &fault_cgroup, 0) != 1)
		return TCX_NEXT;
	return lost(skb, true) ? bpf_redirect(0, 0) : TCX_NEXT;
}

SEC("cgroup_skb/egress")
int loss_mark(struct __sk_buff *skb)
{
	if (skb->ifindex == rule.ifindex && lost(skb, true))
		skb->priority = FAULT_SINK_CLASS;
	return CGROUP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
