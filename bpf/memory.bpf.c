/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Memory, per control group of the task: time spent freeing memory itself before it got some,
 * because the host (direct) or its group (memcg) was short, and processes killed for want of
 * memory. From mm_vmscan_{direct,memcg}_reclaim_{begin,end} and mark_victim.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

/*
 * mark_victim passed the victim's pid until 6.9, 72ba14deb40a ("mm: update mark_victim tracepoints
 * fields"; also in 6.1's stable series): then only the task that ran out of memory is known, which
 * is in the victim's group when that group is at its limit. The agent looks it up in BTF.
 */
const volatile bool victim_is_pid = false;

enum reclaim {
	RECLAIM_DIRECT,
	RECLAIM_MEMCG,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct histogram);
} direct_reclaim SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct histogram);
} memcg_reclaim SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} oom_kills SEC(".maps");

/*
 * When a thread began to reclaim, by thread id and kind. Preallocated, so that nothing is
 * allocated for a task that has no memory; more threads than this at once are not timed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} reclaims SEC(".maps");

static __always_inline __u64 reclaim_key(enum reclaim kind)
{
	return (__u32)bpf_get_current_pid_tgid() | (__u64)kind << 32;
}

static __always_inline __u32 current_slot(void)
{
	return cgroup_slot(task_cgroup_id(false, (void *)bpf_get_current_task()));
}

static __always_inline int on_begin(enum reclaim kind)
{
	__u64 key = reclaim_key(kind);
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&reclaims, &key, &now, BPF_ANY);
	return 0;
}

static __always_inline int on_end(enum reclaim kind, void *map)
{
	__u64 key = reclaim_key(kind);
	__u64 *began = bpf_map_lookup_elem(&reclaims, &key);
	__u64 now = bpf_ktime_get_ns();
	struct histogram *histogram;
	__u32 slot;

	if (!began)
		return 0;
	slot = current_slot();
	histogram = bpf_map_lookup_elem(map, &slot);
	if (histogram && now >= *began)
		histogram_add_shared(histogram, now - *began);
	bpf_map_delete_elem(&reclaims, &key);
	return 0;
}

static __always_inline int on_victim(struct task_struct *victim)
{
	__u32 slot = victim ? cgroup_slot(task_cgroup_id(false, victim)) : current_slot();
	__u64 *kills = bpf_map_lookup_elem(&oom_kills, &slot);

	if (kills)
		__sync_fetch_and_add(kills, 1);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int direct_begin(void *ctx)
{
	return on_begin(RECLAIM_DIRECT);
}

SEC("raw_tp/mm_vmscan_direct_reclaim_begin")
int direct_begin_raw(void *ctx)
{
	return on_begin(RECLAIM_DIRECT);
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int direct_end(void *ctx)
{
	return on_end(RECLAIM_DIRECT, &direct_reclaim);
}

SEC("raw_tp/mm_vmscan_direct_reclaim_end")
int direct_end_raw(void *ctx)
{
	return on_end(RECLAIM_DIRECT, &direct_reclaim);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int memcg_begin(void *ctx)
{
	return on_begin(RECLAIM_MEMCG);
}

SEC("raw_tp/mm_vmscan_memcg_reclaim_begin")
int memcg_begin_raw(void *ctx)
{
	return on_begin(RECLAIM_MEMCG);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int memcg_end(void *ctx)
{
	return on_end(RECLAIM_MEMCG, &memcg_reclaim);
}

SEC("raw_tp/mm_vmscan_memcg_reclaim_end")
int memcg_end_raw(void *ctx)
{
	return on_end(RECLAIM_MEMCG, &memcg_reclaim);
}

SEC("tp_btf/mark_victim")
int oom_victim(__u64 *ctx)
{
	return on_victim(victim_is_pid ? NULL : (struct task_struct *)ctx[0]);
}

SEC("raw_tp/mark_victim")
int oom_victim_raw(__u64 *ctx)
{
	return on_victim(victim_is_pid ? NULL : (struct task_struct *)ctx[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
