/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP per control group of the socket (v2, the group that made or, for a connection that was
 * accepted, that listened): round-trip time as of each packet received, segments sent again, time
 * to connect, connections opened, accepted, failed and closed. From tcp_probe,
 * tcp_retransmit_skb, tcp_retransmit_synack and inet_sock_set_state.
 */
#include "vmlinux.h"

#include "compat.bpf.h"
#include "slots.bpf.h"

/* Connect times are wanted and socket storage exists for tracing programs (5.11). */
const volatile bool connect_on = true;

/* include/net/tcp_states.h, include/uapi/linux/in.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT	2
#define TCP_SYN_RECV	3
#define TCP_CLOSE	7
#define TCP_LISTEN	10
#define IPPROTO_TCP	6
/* srtt_us is kept in eighths of a microsecond. */
#define SRTT_SHIFT 3

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct histogram);
} tcp_rtt SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct histogram);
} tcp_connect SEC(".maps");

struct retransmits {
	__u64 segments;
	__u64 synacks;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct retransmits);
} tcp_retrans SEC(".maps");

struct connections {
	/* By connect(), and it was answered; with `failed` these are SNMP's ActiveOpens. */
	__u64 opened;
	/* The other side's connect(). */
	__u64 accepted;
	/* connect() that ended without a connection. */
	__u64 failed;
	/* Ended, either way, after it had been established. */
	__u64 closed;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CGROUP_SLOTS);
	__type(key, __u32);
	__type(value, struct connections);
} tcp_conns SEC(".maps");

/* When connect() was called. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} tcp_connecting SEC(".maps");

static __always_inline __u32 socket_slot(bool typed, const struct sock *sk)
{
	return cgroup_slot(cgroup_id(typed, sock_cgroup(typed, sk)));
}

static __always_inline int on_probe(bool typed, const struct sock *sk)
{
	__u32 srtt = BPF_CORE_READ((const struct tcp_sock *)sk, srtt_us) >> SRTT_SHIFT;
	struct histogram *histogram;
	__u32 slot;

	/* 0: no round trip was measured yet. */
	if (!srtt)
		return 0;
	slot = socket_slot(typed, sk);
	histogram = bpf_map_lookup_elem(&tcp_rtt, &slot);
	if (histogram)
		histogram_add_shared(histogram, srtt);
	return 0;
}

static __always_inline int on_retransmit(bool typed, const struct sock *sk,
					 const struct sk_buff *skb)
{
	struct tcp_skb_cb *control = (void *)skb + bpf_core_field_offset(skb->cb);
	__u16 segments = BPF_CORE_READ(control, tcp_gso_segs);
	__u32 slot = socket_slot(typed, sk);
	struct retransmits *counts = bpf_map_lookup_elem(&tcp_retrans, &slot);

	/* One buffer may be many segments, as SNMP's RetransSegs counts them. */
	if (counts)
		__sync_fetch_and_add(&counts->segments, segments ? segments : 1);
	return 0;
}

static __always_inline int on_synack(bool typed, const struct sock *listener)
{
	__u32 slot = socket_slot(typed, listener);
	struct retransmits *counts = bpf_map_lookup_elem(&tcp_retrans, &slot);

	if (counts)
		__sync_fetch_and_add(&counts->synacks, 1);
	return 0;
}

static __always_inline void record_connect(struct sock *sk, __u32 slot)
{
	__u64 *began = bpf_sk_storage_get(&tcp_connecting, sk, 0, 0);
	struct histogram *histogram = bpf_map_lookup_elem(&tcp_connect, &slot);
	__u64 now = bpf_ktime_get_ns();

	if (histogram && began && now >= *began)
		histogram_add_shared(histogram, now - *began);
	if (began)
		bpf_sk_storage_delete(&tcp_connecting, sk);
}

static __always_inline void begin_connect(struct sock *sk)
{
	__u64 now = bpf_ktime_get_ns();

	bpf_sk_storage_get(&tcp_connecting, sk, &now, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void count_end(struct connections *counts, int from)
{
	if (from == TCP_SYN_SENT)
		__sync_fetch_and_add(&counts->failed, 1);
	else if (from != TCP_SYN_RECV && from != TCP_LISTEN && from != TCP_CLOSE)
		__sync_fetch_and_add(&counts->closed, 1);
}

static __always_inline int on_state(bool typed, struct sock *sk, int from, int to)
{
	struct connections *counts;
	__u32 slot;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	slot = socket_slot(typed, sk);
	counts = bpf_map_lookup_elem(&tcp_conns, &slot);
	if (!counts)
		return 0;
	if (to == TCP_SYN_SENT && typed && connect_on)
		begin_connect(sk);
	if (to == TCP_CLOSE)
		count_end(counts, from);
	if (to != TCP_ESTABLISHED)
		return 0;
	if (from == TCP_SYN_RECV) {
		__sync_fetch_and_add(&counts->accepted, 1);
	} else if (from == TCP_SYN_SENT) {
		__sync_fetch_and_add(&counts->opened, 1);
		if (typed && connect_on)
			record_connect(sk, slot);
	}
	return 0;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(tcp_packet, struct sock *sk)
{
	return on_probe(true, sk);
}

SEC("raw_tp/tcp_probe")
int BPF_PROG(tcp_packet_raw, struct sock *sk)
{
	return on_probe(false, sk);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_again, struct sock *sk, struct sk_buff *skb)
{
	return on_retransmit(true, sk, skb);
}

SEC("raw_tp/tcp_retransmit_skb")
int BPF_PROG(tcp_again_raw, struct sock *sk, struct sk_buff *skb)
{
	return on_retransmit(false, sk, skb);
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_synack, struct sock *sk)
{
	return on_synack(true, sk);
}

SEC("raw_tp/tcp_retransmit_synack")
int BPF_PROG(tcp_synack_raw, struct sock *sk)
{
	return on_synack(false, sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int from, int to)
{
	return on_state(true, sk, from, to);
}

/* Without socket storage: no connect times. */
SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(tcp_state_raw, struct sock *sk, int from, int to)
{
	return on_state(false, sk, from, to);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
