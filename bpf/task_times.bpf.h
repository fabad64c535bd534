/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A time for each of some tasks, in an array: nothing is allocated when a task is born and nothing
 * freed when it dies, so a fork costs nothing here, and a look costs what an array's does. Tasks
 * find their set of 8 ways by the lower bits of the pid, which the kernel hands out in cyclic
 * order; 32,768 tasks may have a time at once. A set that is full refuses (never one that holds
 * fewer than 8; with 3,000 tasks one in ten million does), and the caller counts that.
 *
 * A way is one word, so no reader ever sees half of it: bits 0-1 a mark of the caller's (1 to 3; 0
 * = the way is free), 2-11 the rest of the pid (PID_MAX_LIMIT is 2^22), 12-63 the time in units of
 * 16 ns, which wrap after 2.3 years. Calls for one task must be serialised, which the run queue's
 * lock does. Two CPUs that take the last look at the same free way within the same nanoseconds
 * lose one of the two times: at 100,000 switches per second and CPU that is one in 10^8.
 * Compare-and-swap would rule it out and cost the kernels before 5.12 (arm64: 5.18) the metric.
 */
#ifndef FAULTLINE_TASK_TIMES_BPF_H
#define FAULTLINE_TASK_TIMES_BPF_H

#define TASK_SETS_LOG 12
#define TASK_SETS     (1 << TASK_SETS_LOG)
#define TASK_WAYS     8

#define TASK_MARK_MASK	0x3ULL
#define TASK_TAG_SHIFT	2
#define TASK_TAG_MASK	0xffcULL
#define TASK_TIME_SHIFT 12
#define TASK_UNIT_SHIFT 4

struct task_set {
	__u64 ways[TASK_WAYS];
};

static __always_inline struct task_set *task_set_of(void *map, __u32 pid)
{
	__u32 index = pid & (TASK_SETS - 1);

	return (struct task_set *)bpf_map_lookup_elem(map, &index);
}

/* False: there is no room. A task that has a time already must be forgotten first. */
static __always_inline bool task_remember(void *map, __u32 pid, __u32 mark, __u64 time)
{
	struct task_set *set = task_set_of(map, pid);
	__u64 tag = (__u64)(pid >> TASK_SETS_LOG) << TASK_TAG_SHIFT;

	if (!set)
		return false;
	for (int way = 0; way < TASK_WAYS; way++) {
		volatile __u64 *entry = &set->ways[way];

		if (*entry)
			continue;
		*entry = time >> TASK_UNIT_SHIFT << TASK_TIME_SHIFT | (tag & TASK_TAG_MASK) |
			 (mark & TASK_MARK_MASK);
		return true;
	}
	return false;
}

/* What was remembered, and forgets it; 0 = nothing was. */
static __always_inline __u64 task_recall(void *map, __u32 pid)
{
	struct task_set *set = task_set_of(map, pid);
	__u64 tag = (__u64)(pid >> TASK_SETS_LOG) << TASK_TAG_SHIFT;

	if (!set)
		return 0;
	for (int way = 0; way < TASK_WAYS; way++) {
		volatile __u64 *entry = &set->ways[way];
		__u64 value = *entry;

		if ((value & TASK_TAG_MASK) != tag || !(value & TASK_MARK_MASK))
			continue;
		*entry = 0;
		return value;
	}
	return 0;
}

/* From what was remembered until `now`, ns; negative: the clock ran backwards. */
static __always_inline __s64 task_elapsed(__u64 entry, __u64 now)
{
	__u64 then = entry >> TASK_TIME_SHIFT << TASK_TIME_SHIFT;

	return (__s64)((now >> TASK_UNIT_SHIFT << TASK_TIME_SHIFT) - then) >>
	       (TASK_TIME_SHIFT - TASK_UNIT_SHIFT);
}

#endif
