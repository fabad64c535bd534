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

/* include/linux/sched.h; set before sched_process_exit. */
#define PF_EXITING 0x4

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

static __always_inline struct faults *counts_of(struct task_struct *task)
{
	__u32 slot = cgroup_slot(task_cgroup_id(true, task));

	return bpf_map_lookup_elem(&page_faults, &slot);
}

static __always_inline void count_since(struct task_struct *task, struct faults *seen, __u64 minor,
					__u64 major)
{
	struct faults *counts;

	if (seen->minor == minor && seen->major == major)
		return;
	counts = counts_of(task);
	if (!counts)
		return;
	__sync_fetch_and_add(&counts->minor, since_last(&seen->minor, minor));
	__sync_fetch_and_add(&counts->major, since_last(&seen->major, major));
}

static __always_inline struct faults *first_visit(struct task_struct *task, __u64 minor,
						  __u64 major)
{
	struct faults start = {};

	if (task->start_time < began) {
		start.minor = minor;
		start.major = major;
	}
	return bpf_task_storage_get(&tasks_seen, task, &start, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

SEC("iter/task")
int tasks_visit(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct faults *seen;
	__u64 minor, major;

	if (!task)
		return 0;
	minor = task->min_flt;
	major = task->maj_flt;
	seen = bpf_task_storage_get(&tasks_seen, task, 0, 0);
	if (!seen && !(task->flags & PF_EXITING))
		seen = first_visit(task, minor, major);
	/*
	 * One that exits is task_exit's. Asked after the storage is there: if the answer is no,
	 * task_exit is still to come and will see it, so nothing is counted twice.
	 */
	if (!seen || (task->flags & PF_EXITING))
		return 0;
	count_since(task, seen, minor, major);
	return 0;
}

/* Allocates nothing: a task that no visit has met is counted from its birth. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_exit, struct task_struct *task)
{
	struct faults *seen = bpf_task_storage_get(&tasks_seen, task, 0, 0);
	struct faults *counts;

	if (seen) {
		count_since(task, seen, task->min_flt, task->maj_flt);
		return 0;
	}
	/* Older than the agent, and yet never visited: what it did before is not known. */
	if (task->start_time < began)
		return 0;
	counts = counts_of(task);
	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->minor, task->min_flt);
	if (task->maj_flt)
		__sync_fetch_and_add(&counts->major, task->maj_flt);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
