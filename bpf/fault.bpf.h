/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the programs of all network faults have in common: whether a packet matches, what is counted
 * of it, and the deadline. Works on cgroup_skb and on tc hooks alike, as everything is read
 * relative to the network header.
 */
#ifndef FAULTLINE_FAULT_BPF_H
#define FAULTLINE_FAULT_BPF_H

/*
 * Everything read here is user ABI (__sk_buff, packet headers), so no offset needs relocation, and
 * loading needs no parse of the kernel's BTF, which takes 30 ms.
 */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "fault.h"

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86DD

/* IPv6 extension headers and ICMPv6 (RFC 8200); macros in the uapi, so not in vmlinux.h. */
#define IPPROTO_HOPOPTS	 0
#define IPPROTO_ROUTING	 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6	 58
#define IPPROTO_DSTOPTS	 60

/*
 * What may stand before the header of the protocol. One comparison for all: each branch here
 * multiplies what the verifier walks, for which the first fault of a series waits.
 */
#define EXTENSION_HEADERS                                                                          \
	(1ULL << IPPROTO_HOPOPTS | 1ULL << IPPROTO_ROUTING | 1ULL << IPPROTO_FRAGMENT |            \
	 1ULL << IPPROTO_DSTOPTS)

/* Of IPv6; no packet of a sane sender has more than a few. */
#define MAX_EXTENSIONS 6

const volatile struct fault_filters filters;
struct fault_rule rule;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fault_dose);
} fault_dose SEC(".maps");

struct packet {
	__u32 remote[4];
	__u16 port[2];
	__u8 family;
	__u8 protocol;
	bool has_ports;
	bool fragment; /* a later one, whose ports are in the first */
};

static __always_inline bool load(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET) == 0;
}

static __always_inline void parse_ports(struct __sk_buff *skb, __u32 offset, struct packet *p)
{
	__u16 ports[2];

	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_SCTP)
		return;
	if (!load(skb, offset, ports, sizeof(ports)))
		return;
	p->port[0] = bpf_ntohs(ports[0]);
	p->port[1] = bpf_ntohs(ports[1]);
	p->has_ports = true;
}

static __always_inline bool parse_ipv4(struct __sk_buff *skb, bool egress, struct packet *p)
{
	struct iphdr ip;

	if (!load(skb, 0, &ip, sizeof(ip)))
		return false;
	p->family = 4;
	p->protocol = ip.protocol;
	p->remote[0] = egress ? ip.daddr : ip.saddr;
	/* Ports are in the first fragment only; the others match by address and protocol. */
	if (ip.frag_off & bpf_htons(0x1fff))
		p->fragment = true;
	else
		parse_ports(skb, ip.ihl * 4, p);
	return true;
}

static __always_inline bool parse_ipv6(struct __sk_buff *skb, bool egress, struct packet *p)
{
	struct ipv6hdr ip;
	__u32 offset = sizeof(ip);
	__u8 next;
	int i;

	if (!load(skb, 0, &ip, sizeof(ip)))
		return false;
	p->family = 6;
	next = ip.nexthdr;
	if (egress)
		__builtin_memcpy(p->remote, &ip.daddr, sizeof(p->remote));
	else
		__builtin_memcpy(p->remote, &ip.saddr, sizeof(p->remote));
	for (i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 header[4];
		__u8 kind = next;

		if (kind > 63 || !(EXTENSION_HEADERS >> kind & 1))
			break;
		if (!load(skb, offset, header, sizeof(header)))
			return true;
		next = header[0];
		if (kind != IPPROTO_FRAGMENT) {
			offset += (header[1] + 1) * 8;
			continue;
		}
		offset += 8;
		if ((header[2] << 8 | header[3]) & 0xfff8) {
			p->fragment = true;
			break;
		}
	}
	/* One name for both ICMPs, as the filter has it. */
	p->protocol = next == IPPROTO_ICMPV6 ? IPPROTO_ICMP : next;
	if (!p->fragment)
		parse_ports(skb, offset, p);
	return true;
}

/* `fragments`: a later fragment agrees with any port. */
static __always_inline bool agrees(const volatile struct fault_filter *filter,
				   const struct packet *p, bool fragments)
{
	int i;

	if (filter->family && filter->family != p->family)
		return false;
	if (filter->protocol && filter->protocol != p->protocol)
		return false;
	for (i = 0; i < 4; i++) {
		/* The first is known to the verifier, which then leaves out the rest. */
		if (filter->mask[i] && (p->remote[i] ^ filter->address[i]) & filter->mask[i])
			return false;
	}
	if (!filter->port_last)
		return true;
	if (!p->has_ports)
		return fragments && p->fragment;
	for (i = 0; i < 2; i++) {
		if (p->port[i] >= filter->port_first && p->port[i] <= filter->port_last)
			return true;
	}
	return false;
}

static __always_inline bool parse(struct __sk_buff *skb, bool egress, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, egress, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(skb, egress, p);
	return false;
}

/* Whether the packet is of a peer that no fault may meet. In doubt it is. */
static __always_inline bool exempt(const struct packet *p)
{
	__u32 i;

	for (i = 0; i < FAULT_EXEMPT; i++) {
		if (i >= filters.exempt_count)
			return false;
		if (agrees(&filters.exempt[i], p, true))
			return true;
	}
	return false;
}

/* Whether any filter takes the packet, and none exempts it; without filters a fault takes all. */
static __always_inline bool matches(struct __sk_buff *skb, bool egress)
{
	struct packet p = {};
	__u32 i;

	if (!filters.filter_count && !filters.exempt_count)
		return true;
	if (!parse(skb, egress, &p))
		return !filters.filter_count;
	if (exempt(&p))
		return false;
	if (!filters.filter_count)
		return true;
	for (i = 0; i < FAULT_FILTERS; i++) {
		if (i >= filters.filter_count)
			return false;
		if (agrees(&filters.filters[i], &p, false))
			return true;
	}
	return false;
}

/* Packets on the wire that a buffer becomes; gso_segs is 0 where a guest or a tunnel left it so. */
static __always_inline __u64 packets_of(struct __sk_buff *skb)
{
	if (skb->gso_segs)
		return skb->gso_segs;
	if (skb->gso_size)
		return (skb->len + skb->gso_size - 1) / skb->gso_size;
	return 1;
}

/*
 * Adds are atomic: a cgroup_skb program of process context may be interrupted by the softirq that
 * runs it again on the same CPU.
 */
static __always_inline void count_hit(struct __sk_buff *skb, __u64 now)
{
	__u32 key = 0;
	struct fault_dose *dose = bpf_map_lookup_elem(&fault_dose, &key);

	if (!dose)
		return;
	__sync_fetch_and_add(&dose->hit_packets, packets_of(skb));
	__sync_fetch_and_add(&dose->hit_buffers, 1);
	__sync_fetch_and_add(&dose->hit_bytes, skb->len);
	if (!dose->first_ns)
		dose->first_ns = now;
	dose->last_ns = now;
}

static __always_inline void count_pass(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct fault_dose *dose = bpf_map_lookup_elem(&fault_dose, &key);

	if (!dose)
		return;
	__sync_fetch_and_add(&dose->passed_packets, packets_of(skb));
	__sync_fetch_and_add(&dose->passed_buffers, 1);
}

#endif
