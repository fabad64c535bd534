/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records that BPF programs and the agent share, and the one bucket function of every
 * histogram. Included by C for the kernel and by C++: fixed-width types, explicit padding, nothing
 * else. In bpf/ include vmlinux.h first, in C++ the types come from <linux/types.h>.
 */
#ifndef FAULTLINE_METRIC_H
#define FAULTLINE_METRIC_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/*
 * Entity slots. Every per-cgroup map is an array indexed by slot; the agent gives a slot to each
 * cgroup that it tracks and writes it into the map cgroup_slots. What has no slot is counted in
 * CGROUP_SLOT_OTHER.
 */
#define CGROUP_SLOTS	  256
#define CGROUP_SLOT_OTHER 0

/* The same for disks; slot 0 is what has no slot. */
#define DISK_SLOTS 32

/* Key of cgroup_slots: kernfs ids are unique only within a hierarchy. */
struct cgroup_key {
	__u64 id;	 /* cgroup->kn->id */
	__u32 hierarchy; /* cgroup->root->hierarchy_id; 0 = v2 */
	__u32 pad;
};

/*
 * Log-linear histogram: values below 8 have a bucket of their own, above each power of two is cut
 * into 4 buckets of equal width, so a bucket is at most 25 % of its lower bound wide. 252 buckets
 * cover all of u64.
 */
#define HISTOGRAM_POWER	  2
#define HISTOGRAM_BUCKETS 252

struct histogram {
	__u64 sum;
	__u64 count;
	__u64 buckets[HISTOGRAM_BUCKETS];
};

/* floor(log2(value)), value > 0. Branches, as BPF has no instruction for it. */
static inline __u32 histogram_log2(__u64 value)
{
	__u32 log = 0;

	if (value >> 32) {
		value >>= 32;
		log += 32;
	}
	if (value >> 16) {
		value >>= 16;
		log += 16;
	}
	if (value >> 8) {
		value >>= 8;
		log += 8;
	}
	if (value >> 4) {
		value >>= 4;
		log += 4;
	}
	if (value >> 2) {
		value >>= 2;
		log += 2;
	}
	return log + (__u32)(value >> 1);
}

static inline __u32 histogram_bucket(__u64 value)
{
	__u32 log;

	if (value < (2 << HISTOGRAM_POWER))
		return (__u32)value;
	log = histogram_log2(value);
	return ((log - HISTOGRAM_POWER + 1) << HISTOGRAM_POWER) +
	       (__u32)((value >> (log - HISTOGRAM_POWER)) & ((1 << HISTOGRAM_POWER) - 1));
}

/* Smallest value of `bucket`; the largest is the lower bound of the next one minus 1. */
static inline __u64 histogram_lower_bound(__u32 bucket)
{
	__u32 log;

	if (bucket < (2 << HISTOGRAM_POWER))
		return bucket;
	log = (bucket >> HISTOGRAM_POWER) + HISTOGRAM_POWER - 1;
	return (1ULL << log) +
	       ((__u64)(bucket & ((1 << HISTOGRAM_POWER) - 1)) << (log - HISTOGRAM_POWER));
}

#endif
