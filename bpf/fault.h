/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records that the network faults' programs and the injector share, and the one random draw of
 * a fault, so that a test can say which packet will be lost. Included by C for the kernel and by
 * C++: fixed-width types, explicit padding, nothing else. In bpf/ include vmlinux.h first.
 */
#ifndef FAULTLINE_FAULT_H
#define FAULTLINE_FAULT_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/* More filters than that on one fault are refused. */
#define FAULT_FILTERS 16

/* Peers that no network fault meets: the owner's, the collector's addresses, the port of ssh. */
#define FAULT_EXEMPT 16

/*
 * The standing plane is an htb root of this handle. Unsteered packets never see a class of it; a
 * packet that a program gives the priority FAULT_SINK_CLASS is lost, for real: the sender is not
 * told. Classes of rate and delay faults follow from FAULT_FIRST_CLASS on.
 */
#define FAULT_PLANE_HANDLE  0xf1000000
#define FAULT_DEFAULT_CLASS 0xf1000010
#define FAULT_SINK_CLASS    0xf10000fe
#define FAULT_SINK_CHILD    0xf10000ff
#define FAULT_FIRST_CLASS   0xf1000100
#define FAULT_LAST_CLASS    0xf1000fff

/* One peer filter; a packet matches if it agrees with every field that is set. */
struct fault_filter {
	__u32 address[4]; /* network byte order; IPv4 in the first */
	__u32 mask[4];
	__u16 port_first; /* host byte order, inclusive; 0 and 0 = any */
	__u16 port_last;
	__u8 family;   /* 4, 6, or 0 = both */
	__u8 protocol; /* IPPROTO_ICMP means ICMPv6 as well; 0 = any */
	__u8 pad[2];
};

/* Which packets one program meets: constants of it, so that the verifier drops the rest. */
struct fault_filters {
	__u32 filter_count;
	__u32 exempt_count;
	struct fault_filter filters[FAULT_FILTERS];
	struct fault_filter exempt[FAULT_EXEMPT]; /* wins over the filters */
};

/* What it does with them: set before it is attached, and fixed from then on. */
struct fault_rule {
	__u64 seed;
	__u64 deadline_ns; /* CLOCK_BOOTTIME; everything after it passes, but for steer_until */
	__u64 start_ns;	   /* CLOCK_BOOTTIME; of the shape, 0 = constant */
	__u64 ramp_ns;	   /* from none to all; 0 = no ramp */
	__u64 on_ns;	   /* all, then nothing for off_ns, repeated; 0 = no pulse */
	__u64 off_ns;
	__u32 loss_ppm;
	__u32 priority; /* classid that a steered packet gets */
	__u32 ifindex;	/* steering: only packets that leave by this device */
	__u32 pad;
};

/* What one program did, per CPU; first is a minimum and last a maximum over them, 0 = none. */
struct fault_dose {
	__u64 hit_packets; /* a GSO buffer counts as its segments */
	__u64 hit_buffers;
	__u64 hit_bytes;      /* as the kernel's skb->len at the hook */
	__u64 passed_packets; /* matched, but the draw let them pass */
	__u64 passed_buffers;
	__u64 first_ns; /* CLOCK_BOOTTIME of hits */
	__u64 last_ns;
};

/* The control group whose throttling is watched, and what of it goes on. */
struct fault_throttle_target {
	__u64 group_id; /* in the hierarchy of the cpu controller */
	__u64 holding;	/* CPUs whose run queue of the group holds a task back now */
};

/* What was seen of it, per CPU; first is a minimum and last a maximum over them, 0 = none. */
struct fault_throttle {
	__u64 first_ns; /* CLOCK_BOOTTIME of a hold */
	__u64 last_ns;	/* of a hold or a release */
	__u64 holds;	/* times that a run queue began to hold tasks back */
	__u64 releases; /* and let go of them */
};

/* The n-th draw of a seed: splitmix64, of which the upper half is scaled to parts per million. */
static inline __u32 fault_draw(__u64 seed, __u64 n)
{
	__u64 z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	z ^= z >> 31;
	return (__u32)(((z >> 32) * 1000000) >> 32);
}

/* fault_level of the full dose. */
#define FAULT_FULL 65536

/*
 * How much of its dose a fault has at `now_ns`, in 65536ths: Shape::Level of the injector in whole
 * numbers.
 */
static inline __u64 fault_level(const volatile struct fault_rule *rule, __u64 now_ns)
{
	__u64 ramp_ns = rule->ramp_ns;
	__u64 on_ns = rule->on_ns;
	__u64 passed;

	if (now_ns < rule->start_ns)
		return 0;
	passed = now_ns - rule->start_ns;
	if (on_ns)
		return passed % (on_ns + rule->off_ns) < on_ns ? FAULT_FULL : 0;
	if (passed >= ramp_ns)
		return FAULT_FULL;
	/* Days: in units of 65 us, so that the product keeps its top bits. */
	if (ramp_ns >> 47) {
		passed >>= 16;
		ramp_ns >>= 16;
	}
	return passed * FAULT_FULL / ramp_ns;
}

#endif
