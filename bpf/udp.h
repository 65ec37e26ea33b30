/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Captured datagrams: structs shared with Go (pkg/kernel/datagram/wire.go), maps, the decision, and how the proxy and the application
 * each learn of the address that the other one means.
 *
 * UDP has no moment between connect() and the first packet at which the client's port is known, so that the destination itself says
 * what was asked for. IPv4: each destination gets a number, and is rewritten to the loopback address 127.x.y.z that holds
 * it. Numbers are used again only after 16 million others. IPv6 has one loopback address: there each client's socket has a few
 * slots, one for each destination that it ever had, and slot n is capture socket n; the proxy finds the client's socket by its address
 * and reads the slot.
 *
 * No struct has implicit padding: map keys are compared as bytes. Addresses are 16 bytes in network byte order, IPv4 as
 * ::ffff:a.b.c.d. Members named port are in network byte order.
 */
#ifndef WEIR_UDP_H
#define WEIR_UDP_H

#include "caller.h"

enum {
	BPF_NOEXIST = 1,
	LOOPBACK_NET = 127,
};

static struct bpf_sock *(*bpf_sk_lookup_udp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
					     __u64 flags) = (void *)85;

struct weir_udp_addr {
	__u32 word[4];
};

enum weir_udp_action {
	UDP_PASS = 0,	  /* leave the datagram alone */
	UDP_REDIRECT = 1, /* send it to a capture socket */
	UDP_REFUSE = 2,	  /* make connect() or sendmsg() fail */
};

/* Why a verdict was reached. Each has a counter in weir_udp_reasons. Append only. */
enum weir_udp_reason {
	UDP_NONE = 0,
	UDP_DISABLED = 1,	   /* no plan has been applied, or interception is switched off */
	UDP_PROXY_MARK = 2,	   /* the socket carries the proxy's SO_MARK */
	UDP_PROXY_CGROUP = 3,	   /* the caller is in the proxy's own cgroup */
	UDP_CAPTURE_SOCKET = 4,	   /* the destination is a capture socket already */
	UDP_EXCLUDED = 5,	   /* an exclusion covers the destination */
	UDP_NO_RULE = 6,	   /* no rule covers the destination */
	UDP_PASS_RULE = 7,	   /* the most specific rule says to pass */
	UDP_REFUSE_RULE = 8,	   /* the most specific rule says to refuse */
	UDP_CAPTURED = 9,	   /* sent to a capture socket */
	UDP_NO_CAPTURE_SOCKET = 10, /* fail policy: no capture socket of this address family */
	UDP_OTHER_NETNS = 11,	   /* fail policy: the caller is in a network namespace without capture sockets */
	UDP_BOUND_DEVICE = 12,	   /* fail policy: the socket is bound to a device, loopback is out of its reach */
	UDP_NO_ROOM = 13,	   /* fail policy: no memory for the destination, or too many IPv6 destinations of one socket */
	UDP_ANSWERED = 14,	   /* an answer was given the address that the application asked */
	UDP_NOT_LISTENING = 15,	   /* fail policy: the capture socket is gone, or is not the proxy's */
	UDP_RULES_LOST = 16,	   /* fail policy: the rules did not fit, so that nobody knows what covers the destination */
	UDP_REASON_COUNT = 17,
};

enum weir_udp_flag {
	UDP_FLAG_ENABLED = 1 << 0,
	UDP_FLAG_FAIL_CLOSED = 1 << 1,
	UDP_FLAG_HAS_EXCLUDES = 1 << 2,
	UDP_FLAG_RULES_LOST = 1 << 3, /* there are no rules to go by: the fail policy is for everything */
};

/* How many destinations of IPv6 a socket may have in its life. */
#define UDP_SLOTS 16

struct weir_udp_control {
	__u32 generation;
	__u32 flags;
	__u32 proxy_mark; /* 0: none */
	__u32 reserved;
	__u64 proxy_cgroup; /* cgroup v2 id, 0: none */
};

/* The capture sockets of one network namespace. */
struct weir_udp_ports {
	__u16 port4;		/* of the one for 127.0.0.0/8; 0: there is none */
	__u16 port6[UDP_SLOTS]; /* of those at ::1; 0: there are none */
};

/* Key of weir_udp_rules and weir_udp_exclude; prefixlen counts from generation, and all before addr matches exactly. */
struct weir_udp_prefix {
	__u32 prefixlen;
	__u32 generation;
	__u16 port;   /* 0: any */
	__u16 family; /* AF_INET or AF_INET6, host order */
	struct weir_udp_addr addr;
};
#define UDP_EXACT_BITS 64

struct weir_udp_rule {
	enum weir_udp_action action;
	__u32 rule; /* position in the plan of this generation, plus one */
};

struct weir_udp_query {
	struct weir_udp_addr addr;
	__u16 port;
	__u16 reserved;
	__u32 bound_if;
	__u32 mark;
	__u32 elsewhere; /* 1 when the program does not run in netns, so that sockets cannot be looked up */
	__u64 cgroup;
	__u64 netns;
};

struct weir_udp_verdict {
	enum weir_udp_action action;
	enum weir_udp_reason reason;
	__u32 generation;
	__u32 rule;
};

/* A destination. */
struct weir_udp_dest {
	struct weir_udp_addr addr;
	__u16 port;
	__u16 reserved;
};

struct weir_udp_slot {
	__u32 state; /* SLOT_FREE, then SLOT_TAKEN, then SLOT_READY for good */
	struct weir_udp_dest dest;
};
enum { SLOT_FREE = 0, SLOT_TAKEN = 1, SLOT_READY = 2 };

struct weir_udp_slots {
	struct weir_udp_slot slot[UDP_SLOTS];
};

/* Key of weir_udp_told: what a socket sends to a destination. */
struct weir_udp_flow {
	__u64 cookie; /* SO_COOKIE */
	struct weir_udp_dest dest;
	__u32 reserved;
};

/* Data of a run of weir_udp_explain. */
struct weir_udp_explain {
	__u8 ethernet[14];
	__u16 reserved;
	struct weir_udp_query query;
	struct weir_udp_verdict verdict;
};

/* Data of a run of weir_udp_find: whose datagram came to which capture socket of IPv6, and where it was going. */
struct weir_udp_find {
	__u8 ethernet[14];
	__u16 reserved;
	struct weir_udp_addr client;
	__u16 client_port;
	__u16 local_port;
	__u32 slot;
	__u32 found;
	struct weir_udp_dest dest;
};

_Static_assert(sizeof(struct weir_udp_control) == 24, "weir_udp_control");
_Static_assert(sizeof(struct weir_udp_ports) == 34, "weir_udp_ports");
_Static_assert(sizeof(struct weir_udp_prefix) == 28, "weir_udp_prefix");
_Static_assert(sizeof(struct weir_udp_rule) == 8, "weir_udp_rule");
_Static_assert(sizeof(struct weir_udp_query) == 48, "weir_udp_query");
_Static_assert(sizeof(struct weir_udp_verdict) == 16, "weir_udp_verdict");
_Static_assert(sizeof(struct weir_udp_dest) == 20, "weir_udp_dest");
_Static_assert(sizeof(struct weir_udp_flow) == 32, "weir_udp_flow");
_Static_assert(sizeof(struct weir_udp_slots) == 384, "weir_udp_slots");
_Static_assert(sizeof(struct weir_udp_explain) == 80, "weir_udp_explain");
_Static_assert(sizeof(struct weir_udp_find) == 64, "weir_udp_find");

/*
 * weir_udp_control: the settings and the generation of rules in force; swapped as a whole, as weir_control of weir.bpf.c.
 * key: 0. written by: user space. deleted by: nobody. full: cannot be.
 */
struct weir_udp_control_slot {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_udp_control);
} weir_udp_off SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct weir_udp_control_slot);
} weir_udp_control SEC(".maps") = {
	.values = { &weir_udp_off },
};

/*
 * weir_udp_netns: the capture sockets of each network namespace that has some.
 * key: cookie of the namespace. written and deleted by: user space. capacity: 8192, memory is taken as entries are added.
 * full: the update is refused; datagrams from the namespace are left to the fail policy (UDP_OTHER_NETNS).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct weir_udp_ports);
} weir_udp_netns SEC(".maps");

/*
 * weir_udp_rules, weir_udp_exclude: what happens to datagrams by their destination; exclusions are looked up first.
 * written by: user space, a whole rule set under the next generation before that is put in force. deleted by: user space, the
 * previous generation. capacity: 65536 entries, two generations together. full: the update is refused, the rules in force stay.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct weir_udp_prefix);
	__type(value, struct weir_udp_rule);
} weir_udp_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct weir_udp_prefix);
	__type(value, struct weir_udp_rule);
} weir_udp_exclude SEC(".maps");

/*
 * weir_udp_numbers: the number of a destination of IPv4; weir_udp_dests: the destination of a number.
 * written by: connect4, sendmsg4. deleted by: nobody. capacity: 65536 each, preallocated, about 10 MB together.
 * full: the least recently used entry goes. A destination whose number has gone gets another one. What comes for a number whose
 *   destination has gone is dropped by the proxy, which cannot know where it should go: it never goes to another destination.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_udp_dest);
	__type(value, __u32);
} weir_udp_numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct weir_udp_dest);
} weir_udp_dests SEC(".maps");

/* weir_udp_next: how many numbers were given. key: 0. written by: connect4, sendmsg4. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_udp_next SEC(".maps");

/*
 * weir_udp_sockets: the destinations of IPv6 that a socket has had.
 * written by: connect6, sendmsg6. deleted by: the kernel with the socket. full: the fail policy decides (UDP_NO_ROOM).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_udp_slots);
} weir_udp_sockets SEC(".maps");

/* weir_udp_peers: the destination that a socket is connected to, for getpeername(). As weir_udp_sockets, by connect4 and 6. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_udp_dest);
} weir_udp_peers SEC(".maps");

/*
 * weir_udp_told: what has been told of exchanges that are not connected, so that the first datagram alone is told of, and a later one
 * whose verdict is another.
 * key: struct weir_udp_flow. value: round << 32 | verdict, as weir_udp_tell makes it.
 * written by: sendmsg4, sendmsg6, while somebody wants to know. deleted by: nobody. capacity: 4096, preallocated, about 400 KB.
 * full: the least recently used entry goes, and its exchange is told of again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_udp_flow);
	__type(value, __u64);
} weir_udp_told SEC(".maps");

/* weir_udp_reasons: how often each reason was given. key: enum weir_udp_reason. value: count on this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, UDP_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} weir_udp_reasons SEC(".maps");

#endif
