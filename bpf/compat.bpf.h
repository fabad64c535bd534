/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Every difference between kernels that a BPF program of ours has to know, each with the commit
 * that made it. The types come from Debian 12's 6.1 (vmlinux/), so "old" is what 5.10 to 6.0 had
 * and "new" what came after 6.1; libbpf relocates to whichever the running kernel has. Include
 * after vmlinux.h.
 */
#ifndef FAULTLINE_COMPAT_BPF_H
#define FAULTLINE_COMPAT_BPF_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * A field of a kernel object through a pointer that the verifier knows (tp_btf: a plain load) or
 * does not (raw_tp: bpf_probe_read_kernel). `typed` must be a constant after inlining, so that one
 * body serves both twins of a program.
 */
#define FIELD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* task_struct.state became __state in 5.14, 2f064a59a11f ("sched: Change task_struct::state"). */
struct task_struct___old {
	volatile long state;
} __attribute__((preserve_access_index));

static __always_inline __u32 task_state(bool typed, struct task_struct *task)
{
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return FIELD(typed, task, __state);
	/* Never typed: the verifier has no flavour of a task. */
	return BPF_CORE_READ(old, state);
}

/*
 * request.rq_disk went in 5.16, f3fa33acca9f ("block: remove the ->rq_disk field in struct
 * request"): the disk is the queue's.
 */
struct request___old {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *request_disk(bool typed, struct request *rq)
{
	struct request___old *old = (void *)rq;
	struct request_queue *queue;

	if (bpf_core_field_exists(old->rq_disk))
		return BPF_CORE_READ(old, rq_disk);
	queue = FIELD(typed, rq, q);
	return queue ? FIELD(typed, queue, disk) : NULL;
}

/*
 * sock_cgroup_data was one word, the lowest bit of which said that it is no group, until 5.15,
 * 8520e224f547 ("bpf, cgroups: Fix cgroup v2 fallback on v1/v2 mixed mode").
 */
struct sock_cgroup_data___old {
	__u64 val;
} __attribute__((preserve_access_index));

static __always_inline struct cgroup *sock_cgroup(bool typed, const struct sock *sk)
{
	struct sock_cgroup_data___old *old = (void *)&sk->sk_cgrp_data;
	__u64 value;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return FIELD(typed, sk, sk_cgrp_data.cgroup);
	value = BPF_CORE_READ(old, val);
	return value & 1 ? NULL : (struct cgroup *)(value & ~3ULL);
}

/*
 * cfs_rq.h_nr_running counted the tasks of a run queue and of those below that want to run until
 * 6.14, c2a295bffeaf ("sched/fair: Add new cfs_rq.h_nr_runnable"): since 6.12 tasks stay in it for
 * a while when they sleep.
 */
struct cfs_rq___new {
	unsigned int h_nr_runnable;
} __attribute__((preserve_access_index));

static __always_inline unsigned int queue_runnable(struct cfs_rq *queue)
{
	struct cfs_rq___new *new = (void *)queue;

	if (bpf_core_field_exists(new->h_nr_runnable))
		return BPF_CORE_READ(new, h_nr_runnable);
	return BPF_CORE_READ(queue, h_nr_running);
}

/*
 * cfs_rq.throttled was an int until 6.18, fe8d238e646e ("sched/fair: Propagate load for throttled
 * cfs_rq"), and is a bit since.
 */
static __always_inline bool queue_throttled(struct cfs_rq *queue)
{
	return BPF_CORE_READ_BITFIELD_PROBED(queue, throttled);
}

#endif
