/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Decisions as they are taken, told to user space while somebody wants to know: what the objects that take decisions have in common.
 * Read by pkg/kernel/events, whose test compares every member with the object's BTF.
 *
 * It needs kernel.h alone. Each object has switches of its own, since reasons have other numbers in each, and all tell through one
 * ring, so that decisions are read in the order in which they were taken.
 */
#ifndef WEIR_EVENT_H
#define WEIR_EVENT_H

#include "kernel.h"

/* Whose decision it is, and so whose reason, rule, listener and epoch. Append only. */
enum weir_event_kind {
	EVENT_CONNECT = 0,  /* connect(), in weir.bpf.c: enum weir_reason */
	EVENT_DATAGRAM = 1, /* connect() or sendmsg() of UDP, in udp.bpf.c: enum weir_udp_reason */
	EVENT_ARRIVAL = 2,  /* a connection comes in, in inbound.bpf.c: enum inbound_reason */
	EVENT_KINDS = 3,
};

/* As enum weir_action of types.h and enum weir_udp_action of udp.h. */
enum weir_event_action {
	EVENT_PASS = 0,
	EVENT_REDIRECT = 1,
	EVENT_REFUSE = 2,
	EVENT_OFFLOAD = 3,
};

enum weir_event_direction {
	EVENT_OUTBOUND = 0, /* a captured process begins it */
	EVENT_INBOUND = 1,  /* it is for a process of this host */
};

enum weir_event_flag {
	EVENT_AGAIN = 1 << 0, /* a datagram of an exchange that has been told of */
};

/*
 * A decision. Addresses are 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d; members named port are in network byte order.
 * Members are added at the end.
 */
struct weir_event {
	__u64 at;     /* bpf_ktime_get_ns() */
	__u64 cookie; /* SO_COOKIE of the client's socket, 0: not known */
	__u64 cgroup; /* cgroup v2 id of the calling task, 0: not known */
	__u64 netns;  /* cookie of the network namespace that it was taken in */
	__u32 addr[4];	 /* destination that the client asked for */
	__u32 target[4]; /* where CONNECT's REDIRECT or OFFLOAD goes */
	__u16 port;
	__u16 target_port;
	__u8 action; /* enum weir_event_action */
	__u8 reason; /* of the kind */
	__u8 protocol;
	__u8 family; /* of the socket */
	__u32 pid;   /* process id in the initial pid namespace, 0: not known */
	__u32 uid;   /* user id in the initial user namespace */
	__u32 epoch; /* of listener, rule and service */
	__u32 listener;
	__u32 rule;
	__u32 service;
	__u8 command[16]; /* the process's name, empty when the kernel cannot tell it */
	__u32 source[4];  /* the client's address, all zero: not known yet */
	__u16 source_port;
	__u8 kind;	/* enum weir_event_kind */
	__u8 direction; /* enum weir_event_direction */
	__u32 flags;	/* enum weir_event_flag */
};
_Static_assert(sizeof(struct weir_event) == 136, "weir_event");

/*
 * weir_events: struct weir_event, of the decisions that somebody wants to be told of.
 * written by: the programs that decide, of all objects: user space replaces the map of each by one of its own.
 * read by: user space. capacity: 1 MB, which are 7281 decisions.
 * full: the decision is not told, and counted in the object's weir_events_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} weir_events SEC(".maps");

/* What is told. User space writes these while the programs run; each is read once for a decision. */
volatile __u64 weir_events_reasons = 0; /* bit 1 << reason for each that is told; 0: nothing is */
volatile __u32 weir_events_actions = 0; /* bit 1 << enum weir_event_action */
volatile __u32 weir_events_sample = 0;  /* of 2^32 decisions so many are told, and one more */
/* Decisions that were wanted and found no room. */
volatile __u64 weir_events_lost = 0;

static void *(*bpf_ringbuf_reserve)(void *map, __u64 size, __u64 flags) = (void *)131; /* 5.8 */
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static __u32 (*event_random)(void) = (void *)7; /* bpf_get_prandom_u32 */

static __always_inline int event_wanted(__u32 action, __u32 reason)
{
	return (weir_events_reasons & 1ULL << (reason & 63)) && (weir_events_actions & 1U << (action & 31));
}

/* Whether a decision that is wanted is in the sample. */
static __always_inline int event_drawn(void)
{
	return event_random() <= weir_events_sample;
}

/* Room for a decision, which has to be filled in as a whole and submitted; or 0, which is counted. */
static __always_inline struct weir_event *event_room(void)
{
	struct weir_event *event = bpf_ringbuf_reserve(&weir_events, sizeof(*event), 0);

	if (!event)
		__sync_fetch_and_add(&weir_events_lost, 1);
	return event;
}

/* Fills in that nobody knows the client's address, since its socket has none before connect() has ended. */
static __always_inline void event_nowhere(struct weir_event *event)
{
	event->source[0] = event->source[1] = event->source[2] = event->source[3] = 0;
	event->source_port = 0;
}

#endif
