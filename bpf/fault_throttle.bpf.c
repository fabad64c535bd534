// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * cpu.limit: when the kernel's bandwidth control holds tasks of a control group back. A limit is
 * kept by each CPU's run queue of the group: one that has used up its share is throttled, and what
 * is in it, or in those of the groups below, waits until it is let go.
 *  throttle_switch  sched_switch: a task leaves the CPU and its queue is throttled, or a queue that
 *                   was has been let go, which makes the CPU switch.
 *  throttle_wakeup  sched_wakeup: a task becomes ready in a queue that is throttled.
 * Whoever is in no throttled queue, which is nearly everybody, costs three loads. Both run under
 * the lock of the CPU's run queue, so what stands here of one CPU has one writer at a time.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "fault.h"

/* Control groups above a task that are looked at. */
#define MAX_DEPTH 32

/* Priorities below are of real-time tasks, which no quota holds back. */
#define MAX_RT_PRIO 100

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fault_throttle_target);
} throttle_target SEC(".maps");

/* By CPU, as many as it has: the throttled run queue of the group that holds a task; 0 = none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} throttle_held SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fault_throttle);
} throttle_seen SEC(".maps");

static __always_inline struct fault_throttle_target *find_target(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&throttle_target, &key);
}

static __always_inline void count(bool held)
{
	__u32 key = 0;
	struct fault_throttle *seen = bpf_map_lookup_elem(&throttle_seen, &key);

	if (!seen)
		return;
	seen->last_ns = bpf_ktime_get_boot_ns();
	if (!seen->first_ns)
		seen->first_ns = seen->last_ns;
	if (held)
		seen->holds++;
	else
		seen->releases++;
}

/* The run queue on `cpu` of the target that `task` is in, however far below; NULL: it is not. */
static __always_inline struct cfs_rq *target_queue(struct task_struct *task, __u64 group_id,
						   __u32 cpu)
{
	struct task_group *group = task->sched_task_group;
	struct cfs_rq *queue = NULL;
	int i;

	for (i = 0; i < MAX_DEPTH && group; i++) {
		if (group->css.cgroup->kn->id == group_id) {
			bpf_probe_read_kernel(&queue, sizeof(queue), group->cfs_rq + cpu);
			return queue;
		}
		group = group->parent;
	}
	return NULL;
}

/* `task`, or others in its queue on `cpu`, wait there now if that is throttled. */
static __always_inline void hold(struct fault_throttle_target *target, struct task_struct *task,
				 bool waits, __u32 cpu)
{
	__u64 *held = bpf_map_lookup_elem(&throttle_held, &cpu);
	struct cfs_rq *queue;

	if (!held || *held || task->prio < MAX_RT_PRIO)
		return;
	queue = target_queue(task, target->group_id, cpu);
	if (!queue || !queue_throttled(queue))
		return;
	if (!waits && !queue_runnable(queue))
		return;
	*held = (__u64)queue;
	__sync_fetch_and_add(&target->holding, 1);
	count(true);
}

static __always_inline void release(struct fault_throttle_target *target, __u32 cpu)
{
	__u64 *held = bpf_map_lookup_elem(&throttle_held, &cpu);

	if (!held || !*held || queue_throttled((struct cfs_rq *)*held))
		return;
	*held = 0;
	__sync_fetch_and_add(&target->holding, -1);
	count(false);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(throttle_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct fault_throttle_target *target = find_target();
	int throttled = prev->se.cfs_rq->throttle_count;
	__u32 cpu;

	if (!target || (!throttled && !target->holding))
		return 0;
	cpu = bpf_get_smp_processor_id();
	if (target->holding)
		release(target, cpu);
	if (throttled)
		hold(target, prev, preempt || !task_state(true, prev), cpu);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(throttle_wakeup, struct task_struct *task)
{
	struct fault_throttle_target *target;

	if (!task->se.cfs_rq->throttle_count)
		return 0;
	/* One that wakes itself runs, without the lock (try_to_wake_up, kernel/sched/core.c). */
	if ((__u64)task == bpf_get_current_task())
		return 0;
	target = find_target();
	if (target)
		hold(target, task, true, task->se.cfs_rq->rq->cpu);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
