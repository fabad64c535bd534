/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * From a control group to its slot, and counting there. One pair of maps for all objects of the
 * agent, which fills them: cgroup_slots, and slots_epoch, a number that moves whenever
 * cgroup_slots does. Include after compat.bpf.h.
 */
#ifndef FAULTLINE_SLOTS_BPF_H
#define FAULTLINE_SLOTS_BPF_H

#include "metric.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	/* A group is there once per hierarchy; the agent sets the real number. */
	__uint(max_entries, CGROUP_SLOTS * 4);
	__type(key, struct cgroup_key);
	__type(value, __u32);
} cgroup_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} slots_epoch SEC(".maps");

/*
 * Which hierarchy the groups of this object are in (cgroup->root->hierarchy_id), and the index of
 * its controller in css_set.subsys; -1: the v2 group of the task itself, finer than the group that
 * v2 charges, which is an ancestor where the controller is not delegated further down.
 */
const volatile __u32 hierarchy = 0;
const volatile int subsys = -1;

static __always_inline __u64 cgroup_id(bool typed, struct cgroup *cgroup)
{
	struct kernfs_node *kn;

	if (!cgroup)
		return 0;
	kn = FIELD(typed, cgroup, kn);
	return kn ? FIELD(typed, kn, id) : 0;
}

static __always_inline __u64 task_cgroup_id(bool typed, struct task_struct *task)
{
	struct css_set *set = FIELD(typed, task, cgroups);
	struct cgroup_subsys_state *css;

	if (!set)
		return 0;
	if (subsys < 0)
		return cgroup_id(typed, FIELD(typed, set, dfl_cgrp));
	if (typed)
		css = set->subsys[subsys & 15];
	else
		bpf_probe_read_kernel(&css, sizeof(css),
				      (void *)set + bpf_core_field_offset(set->subsys) +
					      (subsys & 15) * sizeof(css));
	return css ? cgroup_id(typed, FIELD(typed, css, cgroup)) : 0;
}

/*
 * A hash look-up costs about 20 ns and most events meet few groups, so slots are remembered in a
 * direct-mapped cache. An entry is one word, so that no lock is needed: inode part of the id (32
 * bits, handed out in cyclic order and not reused before it wraps), epoch (16), slot (16).
 */
#define SLOT_CACHE_SIZE 256
__u64 slot_cache[SLOT_CACHE_SIZE];

static __always_inline __u32 cgroup_slot(__u64 id)
{
	const __u32 zero = 0;
	struct cgroup_key key = {.id = id, .hierarchy = hierarchy};
	__u32 *epoch = bpf_map_lookup_elem(&slots_epoch, &zero);
	__u64 tag = id << 32 | (epoch ? *epoch & 0xffff : 0) << 16;
	/* Fibonacci hashing: the ids of sibling groups differ by a constant number of files. */
	__u32 index = (__u32)id * 2654435769u >> 24;
	__u64 entry;
	__u32 *slot;

	entry = *(volatile __u64 *)&slot_cache[index & (SLOT_CACHE_SIZE - 1)];
	if ((entry & ~0xffffULL) == tag && id)
		return entry & 0xffff;
	slot = bpf_map_lookup_elem(&cgroup_slots, &key);
	entry = tag | (slot ? *slot & 0xffff : CGROUP_SLOT_OTHER);
	*(volatile __u64 *)&slot_cache[index & (SLOT_CACHE_SIZE - 1)] = entry;
	return entry & 0xffff;
}

static __always_inline __u32 bucket_of(__u64 value)
{
	__u32 bucket = histogram_bucket(value);

	/* The compiler may know that it is in range, the verifier never does: keep the check. */
	barrier_var(bucket);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* Into a histogram that only this CPU writes, with preemption off or from one context only. */
static __always_inline void histogram_add(struct histogram *histogram, __u64 value)
{
	histogram->sum += value;
	histogram->count++;
	histogram->buckets[bucket_of(value)]++;
}

/* Into a histogram that all CPUs share. */
static __always_inline void histogram_add_shared(struct histogram *histogram, __u64 value)
{
	__sync_fetch_and_add(&histogram->sum, value);
	__sync_fetch_and_add(&histogram->count, 1);
	__sync_fetch_and_add(&histogram->buckets[bucket_of(value)], 1);
}

#endif
