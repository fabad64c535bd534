// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * What `faultline doctor` tries: for each way in which the other programs here are attached, the
 * smallest program that does what they all do there. Each is loaded alone, and what runs by itself
 * counts that it did.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define CGROUP_PASS 1

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} check_runs SEC(".maps");

/* The storages came with 5.11: only the programs that use one create it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} check_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} check_sockets SEC(".maps");

/* With a task's number, so that reading the kernel's memory is part of what is tried. */
static __always_inline int count_run(__u32 pid)
{
	__u32 key = 0;
	__u64 *runs = bpf_map_lookup_elem(&check_runs, &key);

	if (runs)
		__sync_fetch_and_add(runs, pid ? 1 : 2);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(typed_tp, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return count_run(next->pid);
}

SEC("raw_tp/sched_switch")
int BPF_PROG(plain_tp, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return count_run(BPF_CORE_READ(next, pid));
}

SEC("raw_tp")
int test_run(void *ctx)
{
	return count_run((__u32)bpf_get_current_pid_tgid());
}

SEC("iter/task")
int iter_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? count_run(task->pid) : 0;
}

/* A hook that is quiet: what is tried is that the program is taken. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_storage, struct task_struct *task)
{
	__u64 *value = bpf_task_storage_get(&check_tasks, task, NULL, 0);

	return value ? count_run(0) : 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(sk_storage, const struct sock *sk, int oldstate, int newstate)
{
	__u64 *value = bpf_sk_storage_get(&check_sockets, (void *)sk, NULL, 0);

	return value ? count_run(0) : 0;
}

SEC("cgroup_skb/ingress")
int cgroup_ingress(struct __sk_buff *skb)
{
	return CGROUP_PASS;
}

SEC("cgroup_skb/egress")
int cgroup_egress(struct __sk_buff *skb)
{
	return CGROUP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
