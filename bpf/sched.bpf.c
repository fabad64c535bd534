/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Scheduler, per control group, from one program on sched_switch: on-CPU time, wait in the run
 * queue, time off the CPU by state, context switches; per CPU: busy time and switches.
 *
 * The clock is the run queue's, which __schedule() has just updated: no call, and the same one
 * that sched_info stamps, so the run-queue wait is a subtraction without map or wakeup hook.
 * On-CPU time runs on clock_task, as the kernel's own accounting does (no interrupts, no steal).
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

#define TASK_RUNNING	     0x0
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_NOLOAD	     0x400

/* sched_info is not kept on this host: stamp wakeups instead (80 ns each). */
const volatile bool wakeup_stamps = false;
/* Off-CPU time is wanted and task storage exists (5.11). */
const volatile bool offcpu_on = true;

enum offcpu_kind {
	OFFCPU_SLEEP,
	OFFCPU_DISK,
	OFFCPU_IOWAIT,
	OFFCPU_KINDS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} cpu_time SEC(".maps");

struct switches {
	__u64 voluntary;
	__u64 involuntary;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct switches);
} ctx_switches SEC(".maps");

/*
 * Per-CPU, because three atomic adds for each of two histograms would be a third of the cost of
 * the program, and would be felt by the other CPUs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct histogram);
} runq_wait SEC(".maps");

struct offcpu_value {
	struct histogram kinds[OFFCPU_KINDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct offcpu_value);
} offcpu SEC(".maps");

struct cpu_state {
	__u64 busy_ns;
	__u64 switches;
	/* Samples that were not counted because their clock ran backwards or was not set. */
	__u64 discarded;
	/* Private from here on: the slice that runs now, on both clocks; 0 = not known. */
	__u64 since;
	__u64 since_task;
	__u32 slot;
	/* 0 = idle. */
	__u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_busy SEC(".maps");

struct task_sched {
	/* Run-queue clock at which the task blocked; 0 = it did not. */
	__u64 blocked;
	/* CLOCK_MONOTONIC at which it became runnable, with wakeup_stamps only. */
	__u64 queued;
	__u32 kind;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_sched);
} task_scheds SEC(".maps");

/* Charges the slice that ends now, or only its part so far, to the group that runs it. */
static __always_inline void charge(struct cpu_state *cpu, __u64 now, __u64 now_task)
{
	__u64 *time;

	if (cpu->pid && cpu->since) {
		if (now >= cpu->since)
			cpu->busy_ns += now - cpu->since;
		time = bpf_map_lookup_elem(&cpu_time, &cpu->slot);
		if (time && now_task >= cpu->since_task)
			*time += now_task - cpu->since_task;
	}
	cpu->since = now;
	cpu->since_task = now_task;
}

static __always_inline void count_switch(__u32 slot, bool voluntary)
{
	struct switches *count = bpf_map_lookup_elem(&ctx_switches, &slot);

	if (!count)
		return;
	if (voluntary)
		count->voluntary++;
	else
		count->involuntary++;
}

static __always_inline void record_wait(struct cpu_state *cpu, __u64 queued, __u64 now)
{
	struct histogram *histogram;

	if (!queued || queued > now) {
		cpu->discarded++;
		return;
	}
	histogram = bpf_map_lookup_elem(&runq_wait, &cpu->slot);
	if (histogram)
		histogram_add(histogram, now - queued);
}

/* The task has been blocked until `until`; the rest was wait for a CPU. */
static __always_inline void record_offcpu(struct cpu_state *cpu, struct task_sched *task,
					  __u64 until)
{
	struct offcpu_value *value;

	if (until < task->blocked) {
		cpu->discarded++;
	} else {
		value = bpf_map_lookup_elem(&offcpu, &cpu->slot);
		if (value && task->kind < OFFCPU_KINDS)
			histogram_add(&value->kinds[task->kind], until - task->blocked);
	}
	task->blocked = 0;
}

static __always_inline enum offcpu_kind offcpu_kind(struct task_struct *task, __u32 state)
{
	if (!(state & TASK_UNINTERRUPTIBLE) || (state & TASK_NOLOAD))
		return OFFCPU_SLEEP;
	return BPF_CORE_READ_BITFIELD(task, in_iowait) ? OFFCPU_IOWAIT : OFFCPU_DISK;
}

static __always_inline void leave(struct task_struct *prev, bool voluntary, __u32 state, __u64 now)
{
	struct task_sched *task;

	if (!voluntary && !wakeup_stamps)
		return;
	/* Never creates: the allocation might wake kswapd, for which the run queue's lock, that
	 * this program runs under, is needed again. task_new and tasks_start create. */
	task = bpf_task_storage_get(&task_scheds, prev, 0, 0);
	if (!task)
		return;
	if (!voluntary) {
		task->queued = bpf_ktime_get_ns();
	} else if (offcpu_on) {
		task->blocked = now;
		task->kind = offcpu_kind(prev, state);
	}
}

static __always_inline void enter(struct cpu_state *cpu, struct task_struct *next, __u64 queued,
				  __u64 now)
{
	struct task_sched *task = bpf_task_storage_get(&task_scheds, next, 0, 0);

	if (wakeup_stamps && task) {
		record_wait(cpu, task->queued, bpf_ktime_get_ns());
		task->queued = 0;
	}
	if (offcpu_on && task && task->blocked)
		record_offcpu(cpu, task, queued > task->blocked && queued <= now ? queued : now);
}

static __always_inline __u64 last_queued(bool typed, struct task_struct *task)
{
	if (!bpf_core_field_exists(task->sched_info.last_queued))
		return 0;
	return FIELD(typed, task, sched_info.last_queued);
}

static __always_inline int on_switch(bool typed, struct rq *rq, bool preempt,
				     struct task_struct *prev, struct task_struct *next)
{
	const __u32 zero = 0;
	struct cpu_state *cpu = bpf_map_lookup_elem(&cpu_busy, &zero);
	__u64 now = FIELD(typed, rq, clock);
	__u64 queued;
	__u32 state;

	if (!cpu)
		return 0;
	charge(cpu, now, FIELD(typed, rq, clock_task));
	cpu->switches++;
	if (cpu->pid) {
		state = task_state(typed, prev);
		count_switch(cpu->slot, !preempt && state != TASK_RUNNING);
		if (typed && (offcpu_on || wakeup_stamps))
			leave(prev, !preempt && state != TASK_RUNNING, state, now);
	}
	/* The idle task's "wait" and "sleep" are nobody's. */
	cpu->pid = FIELD(typed, next, pid);
	if (!cpu->pid)
		return 0;
	cpu->slot = cgroup_slot(task_cgroup_id(typed, next));
	queued = last_queued(typed, next);
	if (!wakeup_stamps)
		record_wait(cpu, queued, now);
	if (typed && (offcpu_on || wakeup_stamps))
		enter(cpu, next, queued, now);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	/* Not by the symbol runqueues, whose address needs KALLSYMS_ALL. */
	return on_switch(true, next->se.cfs_rq->rq, preempt, prev, next);
}

/* Without task storage: no time off the CPU. */
SEC("raw_tp/sched_switch")
int BPF_PROG(sched_switch_raw, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return on_switch(false, BPF_CORE_READ(next, se.cfs_rq, rq), preempt, prev, next);
}

static __always_inline void create(struct task_struct *task, __u64 queued)
{
	struct task_sched *value =
		bpf_task_storage_get(&task_scheds, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (value && queued)
		value->queued = queued;
}

/* In the parent's context, no lock held. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(task_new, struct task_struct *parent, struct task_struct *child)
{
	create(child, 0);
	return 0;
}

/* Run once, at start: the tasks that are there already. */
SEC("iter/task")
int tasks_start(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task)
		create(task, 0);
	return 0;
}

static __always_inline int on_wakeup(struct task_struct *task)
{
	struct task_sched *value = bpf_task_storage_get(&task_scheds, task, 0, 0);

	if (value)
		value->queued = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return on_wakeup(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return on_wakeup(task);
}

/*
 * Run on each CPU at each reading (BPF_PROG_TEST_RUN): charges the slice that is running, so that
 * a task that never switches is seen, and finds its slot again, as it may have moved or its group
 * may be new. The clock is as old as the CPU's last tick: nothing is lost, only late.
 */
SEC("raw_tp")
int charge_running(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const __u32 zero = 0;
	struct cpu_state *cpu = bpf_map_lookup_elem(&cpu_busy, &zero);
	struct rq *rq;

	if (!cpu)
		return 0;
	rq = BPF_CORE_READ(task, se.cfs_rq, rq);
	charge(cpu, BPF_CORE_READ(rq, clock), BPF_CORE_READ(rq, clock_task));
	cpu->pid = BPF_CORE_READ(task, pid);
	if (cpu->pid)
		cpu->slot = cgroup_slot(task_cgroup_id(false, task));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
