/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the kernel counts in each task, added up per control group: page faults. A task iterator
 * that the agent runs at each reading takes what came since its last visit, and
 * sched_process_exit what a task did after that, so that nothing of a short-lived one is lost.
 * One pass costs some 100 ns a task, a fiftieth of reading /proc.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

/* CLOCK_MONOTONIC ns when the agent began: what older tasks did before is not counted. */
const volatile __u64 began = 0;

struct faults {
	__u64 minor;
	__u64 major;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct faults);
} page_faults SEC(".maps");

/* The task's own numbers as of the last visit. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct faults);
} tasks_seen SEC(".maps");

static __always_inline __u64 since_last(__u64 *last, __u64 now)
{
	/* Exchanged, as the iterator may meet a task that exits on another CPU. */
	__u64 before = __sync_lock_test_and_set(last, now);

	return now > before ? now - before : 0;
}

static __always_inline int visit(struct task_struct *task)
{
	__u64 minor = task->min_flt, major = task->maj_flt;
	struct faults *seen = bpf_task_storage_get(&tasks_seen, task, 0, 0);
	struct faults *counts;
	__u32 slot;

	if (!seen) {
		struct faults start = {};

		if (task->start_time < began) {
			start.minor = minor;
			start.major = major;
		}
		seen = bpf_task_storage_get(&tasks_seen, task, &start,
					    BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!seen)
			return 0;
	}
	if (seen->minor == minor && seen->major == major)
		return 0;
	slot = cgroup_slot(task_cgroup_id(true, task));
	counts = bpf_map_lookup_elem(&page_faults, &slot);
	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->minor, since_last(&seen->minor, minor));
	__sync_fetch_and_add(&counts->major, since_last(&seen->major, major));
	return 0;
}

SEC("iter/task")
int tasks_visit(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? visit(task) : 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_exit, struct task_struct *task)
{
	return visit(task);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
