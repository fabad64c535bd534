/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Block I/O: bytes and operations per disk and per control group that issued them, time in the
 * device per disk. From block_rq_issue and block_rq_complete.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

/*
 * block_rq_issue had the queue as its first argument until 5.11, a54895fa057c ("block: remove the
 * request_queue to argument request based tracepoints"); the agent looks it up in BTF.
 */
const volatile bool issue_has_queue = false;

#define DISK_SLOTS 32
#define OP_MASK	   0xff

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	/* Flush, discard, write zeroes, passthrough. */
	DISK_OTHER,
	DISK_OPS,
};

struct per_op {
	__u64 ops[DISK_OPS];
};

struct latencies {
	struct histogram ops[DISK_OTHER];
};

/* dev_t of the whole disk -> slot; filled by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DISK_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} disk_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DISK_SLOTS);
	__type(key, __u32);
	__type(value, struct per_op);
} disk_bytes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DISK_SLOTS);
	__type(key, __u32);
	__type(value, struct per_op);
} disk_ops SEC(".maps");

/* Shared: a request costs microseconds, its three atomic adds nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DISK_SLOTS);
	__type(key, __u32);
	__type(value, struct latencies);
} disk_latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct per_op);
} cg_disk_bytes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct per_op);
} cg_disk_ops SEC(".maps");

/*
 * Requests in the device, by address. Preallocated: no allocation on the way of a request that may
 * be there to free memory. What finds no room has its bytes counted but no latency.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, __u64);
} disk_inflight SEC(".maps");

static __always_inline int on_issue(struct request *rq)
{
	__u64 key = (__u64)rq;
	__u64 now = bpf_ktime_get_ns();

	/* Issued again after a requeue: the device's time starts anew. */
	bpf_map_update_elem(&disk_inflight, &key, &now, BPF_ANY);
	return 0;
}

static __always_inline __u32 disk_op(__u32 flags)
{
	__u32 op = flags & OP_MASK;

	return op == REQ_OP_READ ? DISK_READ : op == REQ_OP_WRITE ? DISK_WRITE : DISK_OTHER;
}

static __always_inline void add(void *map, __u32 slot, __u32 op, __u64 value)
{
	struct per_op *counts = bpf_map_lookup_elem(map, &slot);

	/* Completions come in interrupts, so one may come in the middle of another's addition. */
	if (counts && op < DISK_OPS)
		__sync_fetch_and_add(&counts->ops[op], value);
}

static __always_inline void record_latency(struct request *rq, __u32 slot, __u32 op)
{
	__u64 key = (__u64)rq;
	__u64 now = bpf_ktime_get_ns();
	__u64 *issued = bpf_map_lookup_elem(&disk_inflight, &key);
	struct latencies *latencies;

	if (!issued)
		return;
	latencies = bpf_map_lookup_elem(&disk_latency, &slot);
	if (latencies && op < DISK_OTHER && now >= *issued)
		histogram_add_shared(&latencies->ops[op], now - *issued);
	bpf_map_delete_elem(&disk_inflight, &key);
}

/* The group whose bio the request carries; flushes carry none. */
static __always_inline __u32 issuer_slot(bool typed, struct request *rq)
{
	struct bio *bio = FIELD(typed, rq, bio);
	struct blkcg_gq *group = bio ? FIELD(typed, bio, bi_blkg) : NULL;
	struct blkcg *owner = group ? FIELD(typed, group, blkcg) : NULL;

	if (!owner)
		return CGROUP_SLOT_OTHER;
	return cgroup_slot(cgroup_id(typed, FIELD(typed, owner, css.cgroup)));
}

static __always_inline __u32 disk_slot(bool typed, struct request *rq)
{
	struct gendisk *disk = request_disk(typed, rq);
	__u32 device;
	__u32 *slot;

	if (!disk)
		return 0;
	device = (__u32)FIELD(typed, disk, major) << 20 | FIELD(typed, disk, first_minor);
	slot = bpf_map_lookup_elem(&disk_slots, &device);
	return slot ? *slot : 0;
}

static __always_inline int on_complete(bool typed, struct request *rq, __u32 bytes)
{
	__u32 op = disk_op(FIELD(typed, rq, cmd_flags));
	__u32 left = FIELD(typed, rq, __data_len);
	__u32 group, disk;

	/* An empty write is the frame of a flush, which comes by itself and is counted as other. */
	if (op == DISK_WRITE && !left)
		return 0;
	group = issuer_slot(typed, rq);
	disk = disk_slot(typed, rq);
	add(&disk_bytes, disk, op, bytes);
	add(&cg_disk_bytes, group, op, bytes);
	/* A request may complete in parts, each with a call; the last has all that is left. */
	if (bytes < left)
		return 0;
	add(&disk_ops, disk, op, 1);
	add(&cg_disk_ops, group, op, 1);
	record_latency(rq, disk, op);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int block_issue(__u64 *ctx)
{
	if (issue_has_queue)
		return on_issue((void *)ctx[1]);
	return on_issue((void *)ctx[0]);
}

SEC("raw_tp/block_rq_issue")
int block_issue_raw(__u64 *ctx)
{
	if (issue_has_queue)
		return on_issue((void *)ctx[1]);
	return on_issue((void *)ctx[0]);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_end, struct request *rq, int error, unsigned int bytes)
{
	return on_complete(true, rq, bytes);
}

SEC("raw_tp/block_rq_complete")
int BPF_PROG(block_end_raw, struct request *rq, int error, unsigned int bytes)
{
	return on_complete(false, rq, bytes);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
