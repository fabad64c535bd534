/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * For tests only, measures nothing: the bucket function as the kernel runs it. Values come in by
 * the array `check_values`, their buckets go out by `check_buckets`, CHECK_VALUES at each
 * BPF_PROG_TEST_RUN.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

#define CHECK_VALUES 1024

struct check_values {
	__u64 values[CHECK_VALUES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_values);
} check_values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_values);
} check_buckets SEC(".maps");

SEC("raw_tp")
int check(void *ctx)
{
	const __u32 zero = 0;
	struct check_values *in = bpf_map_lookup_elem(&check_values, &zero);
	struct check_values *out = bpf_map_lookup_elem(&check_buckets, &zero);
	__u32 i;

	if (!in || !out)
		return 0;
	for (i = 0; i < CHECK_VALUES; i++)
		out->values[i] = bucket_of(in->values[i]);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
