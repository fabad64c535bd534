/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Scheduler, per control group, from one program on sched_switch: on-CPU time, wait in the run
 * queue, time off the CPU by state, context switches; per CPU: busy time and switches.
 *
 * The clock is the run queue's, which __schedule() has just updated: no call, and the same one
 * that sched_info stamps, so the run-queue wait is a subtraction without map or wakeup hook.
 * On-CPU time is what the kernel itself has added to the task's sum_exec_runtime, which it brings
 * up to date before a switch: without interrupts, steal, and the search for other work of a CPU
 * that is about to be idle.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"
#include "task_times.bpf.h"

#define TASK_RUNNING	     0x0
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_DEAD	     0x80
#define TASK_NOLOAD	     0x400

/* sched_info is not kept on this host: stamp wakeups instead (80 ns each). */
const volatile bool wakeup_stamps = false;

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
	/* Waits, times off the CPU and switches that were not counted. */
	__u64 discarded;
	/* Private from here on: the slice that runs now, when it began (0 = not known), and the
	 * task's sum_exec_runtime then. */
	__u64 since;
	__u64 runtime;
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

/* Run-queue clock at which a task blocked; its mark is the kind plus 1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TASK_SETS);
	__type(key, __u32);
	__type(value, struct task_set);
} task_blocked SEC(".maps");

/* CLOCK_MONOTONIC at which a task became runnable, with wakeup_stamps only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TASK_SETS);
	__type(key, __u32);
	__type(value, struct task_set);
} task_queued SEC(".maps");

/* Charges the slice that ends now, or only its part so far, to the group that runs it. */
static __always_inline void charge(struct cpu_state *cpu, __u64 now, __u64 runtime)
{
	__u64 *time;

	if (cpu->pid && cpu->since) {
		if (now >= cpu->since)
			cpu->busy_ns += now - cpu->since;
		time = bpf_map_lookup_elem(&cpu_time, &cpu->slot);
		if (time && runtime >= cpu->runtime)
			*time += runtime - cpu->runtime;
	}
	cpu->since = now;
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

/* The task that comes has been blocked until `until`; the rest was wait for a CPU. */
static __always_inline void record_offcpu(struct cpu_state *cpu, __u64 blocked, __u64 until)
{
	__u32 kind = (blocked & TASK_MARK_MASK) - 1;
	__s64 elapsed = task_elapsed(blocked, until);
	struct offcpu_value *value;

	if (elapsed < 0) {
		cpu->discarded++;
		return;
	}
	value = bpf_map_lookup_elem(&offcpu, &cpu->slot);
	if (value && kind < OFFCPU_KINDS)
		histogram_add(&value->kinds[kind], elapsed);
}

static __always_inline enum offcpu_kind offcpu_kind(bool typed, struct task_struct *task,
						    __u32 state)
{
	if (!(state & TASK_UNINTERRUPTIBLE) || (state & TASK_NOLOAD))
		return OFFCPU_SLEEP;
	if (typed ? BPF_CORE_READ_BITFIELD(task, in_iowait)
		  : BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait))
		return OFFCPU_IOWAIT;
	return OFFCPU_DISK;
}

static __always_inline void leave(bool typed, struct cpu_state *cpu, struct task_struct *prev,
				  __u32 pid, bool voluntary, __u32 state, __u64 now)
{
	if (wakeup_stamps && (!voluntary || (state & TASK_DEAD)))
		task_recall(&task_queued, pid);
	if (wakeup_stamps && !voluntary)
		task_remember(&task_queued, pid, 1, bpf_ktime_get_ns());
	/* Of the dead nothing stays. */
	if (!voluntary || (state & TASK_DEAD))
		return;
	if (!task_remember(&task_blocked, pid, offcpu_kind(typed, prev, state) + 1, now))
		cpu->discarded++;
}

static __always_inline void record_stamped_wait(struct cpu_state *cpu)
{
	__u64 stamp = task_recall(&task_queued, cpu->pid);
	__u64 now = bpf_ktime_get_ns();

	record_wait(cpu, stamp ? now - task_elapsed(stamp, now) : 0, now);
}

static __always_inline void enter(struct cpu_state *cpu, __u64 queued, __u64 now)
{
	__u64 blocked = task_recall(&task_blocked, cpu->pid);

	if (wakeup_stamps)
		record_stamped_wait(cpu);
	else
		record_wait(cpu, queued, now);
	if (!blocked)
		return;
	/* Queued before it blocked: the host keeps no such stamp, or has not yet for this task. */
	if (queued > now || task_elapsed(blocked, queued) < 0)
		queued = now;
	record_offcpu(cpu, blocked, queued);
}

/*
 * The task that leaves or runs is not the one that was seen to come: a switch was not told. 6.18 on
 * virtual machines that pack their load on few CPUs does so at one switch from idle in some
 * thousands. When the task came is known to the kernel, how long it had waited or slept not any
 * more. A thread that calls exec changes its pid while it runs and is met here too.
 *
 * What it has run since is the kernel's own sum, which a fair task's pick marks; other classes do
 * not, so that it is no more than the time that has passed. That alone would charge what the
 * hypervisor took in between: with a tenth of the CPU stolen, up to 28 ms too much in one slice.
 */
static __always_inline void catch_up(bool typed, struct cpu_state *cpu, struct task_struct *prev,
				     __u32 pid, __u64 now)
{
	__u64 came = now;
	__u64 runtime, ran;

	cpu->discarded++;
	cpu->pid = pid;
	if (!pid)
		return;
	cpu->slot = cgroup_slot(task_cgroup_id(typed, prev));
	task_recall(&task_blocked, pid);
	if (bpf_core_field_exists(prev->sched_info.last_arrival))
		came = FIELD(typed, prev, sched_info.last_arrival);
	/* What was before has been charged. */
	if (came < cpu->since)
		came = cpu->since;
	if (came > now)
		came = now;
	cpu->since = came;
	runtime = FIELD(typed, prev, se.sum_exec_runtime);
	ran = runtime - FIELD(typed, prev, se.prev_sum_exec_runtime);
	if (ran > now - came)
		ran = now - came;
	cpu->runtime = runtime - ran;
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
	__u32 pid = FIELD(typed, prev, pid);
	bool voluntary;
	__u32 state;

	if (!cpu)
		return 0;
	if (cpu->since && cpu->pid != pid)
		catch_up(typed, cpu, prev, pid, now);
	charge(cpu, now, FIELD(typed, prev, se.sum_exec_runtime));
	cpu->switches++;
	if (cpu->pid) {
		state = task_state(typed, prev);
		voluntary = !preempt && state != TASK_RUNNING;
		count_switch(cpu->slot, voluntary);
		leave(typed, cpu, prev, pid, voluntary, state, now);
	}
	/* The idle task's "wait" and "sleep" are nobody's. */
	cpu->pid = FIELD(typed, next, pid);
	if (!cpu->pid)
		return 0;
	cpu->runtime = FIELD(typed, next, se.sum_exec_runtime);
	cpu->slot = cgroup_slot(task_cgroup_id(typed, next));
	enter(cpu, last_queued(typed, next), now);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	/* Not by the symbol runqueues, whose address needs KALLSYMS_ALL. */
	return on_switch(true, next->se.cfs_rq->rq, preempt, prev, next);
}

SEC("raw_tp/sched_switch")
int BPF_PROG(sched_switch_raw, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return on_switch(false, BPF_CORE_READ(next, se.cfs_rq, rq), preempt, prev, next);
}

static __always_inline int on_wakeup(__u32 pid)
{
	/* A task that is awake already may be woken again. */
	task_recall(&task_queued, pid);
	task_remember(&task_queued, pid, 1, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return on_wakeup(task->pid);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return on_wakeup(task->pid);
}

static __always_inline int on_reading(bool typed, struct task_struct *task)
{
	const __u32 zero = 0;
	struct cpu_state *cpu = bpf_map_lookup_elem(&cpu_busy, &zero);
	struct cfs_rq *queue = FIELD(typed, task, se.cfs_rq);
	struct rq *rq = FIELD(typed, queue, rq);
	__u64 now = FIELD(typed, rq, clock);
	__u64 runtime = FIELD(typed, task, se.sum_exec_runtime);
	__u32 pid = FIELD(typed, task, pid);

	if (!cpu)
		return 0;
	if (cpu->since && cpu->pid != pid)
		catch_up(typed, cpu, task, pid, now);
	charge(cpu, now, runtime);
	cpu->pid = pid;
	cpu->runtime = runtime;
	if (pid)
		cpu->slot = cgroup_slot(task_cgroup_id(typed, task));
	return 0;
}

/*
 * Run on each CPU at each reading (BPF_PROG_TEST_RUN): charges the slice that is running, so that
 * a task that never switches is seen, and finds its slot again, as it may have moved or its group
 * may be new. The clock is as old as the CPU's last tick: nothing is lost, only late.
 */
SEC("raw_tp")
int charge_running(void *ctx)
{
	return on_reading(true, bpf_get_current_task_btf());
}

/*
 * Before 5.11, 3ca1032ab7ab ("bpf: Implement get_current_task_btf and RET_PTR_TO_BTF_ID"): five
 * times the cost.
 */
SEC("raw_tp")
int charge_running_raw(void *ctx)
{
	return on_reading(false, (void *)bpf_get_current_task());
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
