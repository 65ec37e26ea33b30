/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Structs and maps of inbound capture, shared with Go (pkg/kernel/inbound/wire.go). A Go test compares every member's offset and
 * size with the object's BTF. No struct has implicit padding: map keys are compared as bytes.
 *
 * Addresses are 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d, so that 0.0.0.0 and :: differ. Members named port are in
 * network byte order.
 */
#ifndef WEIR_INBOUND_H
#define WEIR_INBOUND_H

#include "event.h"
#include "policy.h"

/* What of the kernel's user-space ABI inbound capture touches beside kernel.h. */
enum {
	MAP_HASH = 1,	       /* BPF_MAP_TYPE_HASH */
	MAP_SOCKHASH = 18,     /* BPF_MAP_TYPE_SOCKHASH */
	MAP_RINGBUF = 27,      /* BPF_MAP_TYPE_RINGBUF */
	UPDATE_NOEXIST = 1,    /* BPF_NOEXIST */
	OPS_PASSIVE = 5,       /* BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB */
	OPS_STATE = 10,	       /* BPF_SOCK_OPS_STATE_CB */
	OPS_LISTEN = 11,       /* BPF_SOCK_OPS_TCP_LISTEN_CB */
	OPS_STATE_FLAG = 1 << 2, /* BPF_SOCK_OPS_STATE_CB_FLAG */
	ALREADY_ASSIGNED = 17, /* EEXIST */
	LOOKUP_DROP = 0,       /* SK_DROP */
	LOOKUP_PASS = 1,       /* SK_PASS */
};

/* remote_port is in network byte order, local_port in host byte order. */
struct bpf_sk_lookup {
	__u64 cookie;
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;
	__u32 remote_ip6[4];
	__u16 remote_port;
	__u16 unread;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port;
};

OFFSET_IS(struct bpf_sk_lookup, remote_port, 36);
OFFSET_IS(struct bpf_sk_lookup, local_port, 60);

static int (*set_ops_flags)(struct bpf_sock_ops *ctx, int flags) = (void *)59; /* bpf_sock_ops_cb_flags_set */
static long (*sk_assign)(struct bpf_sk_lookup *ctx, void *sk, __u64 flags) = (void *)124; /* bpf_sk_assign */
static long (*ringbuf_output)(void *map, void *data, __u64 size, __u64 flags) = (void *)130; /* bpf_ringbuf_output, 5.8 */
static long (*map_delete)(void *map, const void *key) = (void *)3; /* bpf_map_delete_elem */

struct inbound_addr {
	__u32 word[4];
};

/* Why a verdict was reached. Each has a counter in weir_inbound_reasons. Append only: the numbers are part of their ABI. */
enum inbound_reason {
	INBOUND_NONE = 0,
	INBOUND_DISABLED = 1,	   /* nothing is to be captured */
	INBOUND_NOT_CAPTURED = 2,  /* no captured process listens there */
	INBOUND_FOREIGN = 3,	   /* a process that is not captured listens on the same address too */
	INBOUND_LOOPBACK = 4,	   /* the destination is a loopback address */
	INBOUND_OWN = 5,	   /* the proxy's own connection to the application */
	INBOUND_EXCLUDED = 6,	   /* an exclusion covers the destination */
	INBOUND_NO_RULE = 7,	   /* no inbound listener is there for the destination */
	INBOUND_CAPTURED = 8,	   /* given to the proxy's socket */
	INBOUND_NO_SOCKET = 9,	   /* fail policy: the proxy has no socket of this address family in this namespace */
	INBOUND_NOT_ASSIGNED = 10, /* fail policy: the kernel did not accept the proxy's socket */
	INBOUND_LISTEN = 11,	   /* a captured process began to listen */
	INBOUND_LISTEN_LOST = 12,  /* it did, and there was no room to remember it */
	INBOUND_LISTEN_DEVICE = 13, /* it did, on a device of its own, which is left alone */
	INBOUND_OTHER_PROGRAM = 14, /* another program of the namespace has chosen a socket, which is respected */
	INBOUND_NAMED = 15,	   /* an application accepted a connection that it sees as the client's own */
	INBOUND_NAME_LOST = 16,	   /* it did, and there was no memory to remember the client's address */
	INBOUND_POLICY_DENIED = 17, /* rbac rules of the listener deny it, and the client is refused */
	INBOUND_RULES_LOST = 18,    /* fail policy: the rules did not fit, so that nobody knows what covers the destination */
	INBOUND_COUNT = 19,
};

/* Bits of inbound_control.flags. */
enum inbound_flag {
	INBOUND_ENABLED = 1 << 0,     /* capture at all */
	INBOUND_FAIL_CLOSED = 1 << 1, /* refuse, rather than pass, what should be captured and cannot be */
	INBOUND_ALL_LOCAL = 1 << 2,   /* capture loopback destinations too */
	INBOUND_HAS_EXCLUDES = 1 << 3,
	INBOUND_NAMES = 1 << 4,	      /* some applications are to see the addresses of clients */
	INBOUND_NO_RULES = 1 << 5,    /* there are no rules to go by: the fail policy is for everything */
};

struct inbound_control {
	__u32 generation;
	__u32 flags; /* enum inbound_flag */
};

/* Where a socket listens. addr may be unspecified. */
struct inbound_place {
	__u64 netns; /* cookie */
	struct inbound_addr addr;
	__u16 port;
	__u16 reserved;
	__u32 reserved2;
};

/* How many sockets listen at a place. */
struct inbound_count {
	__u32 captured; /* of captured processes */
	__u32 foreign;	/* of others; counted only where a captured process uses the port too */
};

/* A listening socket, or the IPv4 half of one that listens on :: for both families. */
struct inbound_half {
	__u64 cookie; /* SO_COOKIE */
	__u32 half;   /* 0: the socket, 1: its IPv4 half */
	__u32 reserved;
};

struct inbound_socket {
	struct inbound_place place;
	__u32 foreign;
	__u32 reserved;
};

enum inbound_kind {
	INBOUND_TAKE = 1,
	INBOUND_LEAVE = 2,
};

/* Key of weir_inbound_rules. All but the address match exactly; prefixlen counts from generation. */
struct inbound_prefix {
	__u32 prefixlen;
	__u32 generation;
	__u16 port;   /* 0: any port */
	__u16 kind;   /* enum inbound_kind */
	__u16 family; /* AF_INET or AF_INET6, host order: keeps ::/0 from covering IPv4 */
	__u16 reserved;
	struct inbound_addr addr;
};
#define INBOUND_EXACT_BITS 96

/* What is said of the destinations of a prefix. */
struct inbound_rule {
	__u32 id;     /* from 1 */
	__u32 policy; /* key of weir_policies; 0: none */
};

/* A connection that the proxy makes to the application. */
struct inbound_pair {
	__u64 netns;
	struct inbound_addr client;
	struct inbound_addr server;
	__u16 client_port;
	__u16 server_port;
	__u32 reserved;
};

/* Whom the application sees as its client. */
struct inbound_peer {
	struct inbound_addr addr;
	__u16 port;
	__u16 named; /* 0: it sees the proxy */
	__u32 reserved;
};

struct inbound_sink {
	__u64 netns;
	__u32 family; /* AF_INET or AF_INET6 */
	__u32 reserved;
};

enum inbound_operation {
	INBOUND_ENTER = 1,
	INBOUND_REMOVE = 2,
};

/* Data of a run of the edit program: 14 bytes of Ethernet header are what the kernel wants to see first. */
struct inbound_edit {
	__u8 ethernet[14];
	__u16 operation; /* enum inbound_operation */
	struct inbound_half half;
	struct inbound_socket socket; /* of INBOUND_ENTER */
};

/* Data of a run of the explain program, which fills in what follows the pair. */
struct inbound_explain {
	__u8 ethernet[14];
	__u16 reserved;
	struct inbound_pair pair;
	struct inbound_rule rule; /* that decided, if one did */
	__u32 reason;		  /* enum inbound_reason */
	__u32 action;		  /* enum weir_event_action */
};

_Static_assert(sizeof(struct inbound_place) == 32, "inbound_place");
_Static_assert(sizeof(struct inbound_half) == 16, "inbound_half");
_Static_assert(sizeof(struct inbound_socket) == 40, "inbound_socket");
_Static_assert(sizeof(struct inbound_prefix) == 32, "inbound_prefix");
_Static_assert(sizeof(struct inbound_pair) == 48, "inbound_pair");
_Static_assert(sizeof(struct inbound_edit) == 72, "inbound_edit");
_Static_assert(sizeof(struct inbound_rule) == 8, "inbound_rule");
_Static_assert(sizeof(struct inbound_peer) == 24, "inbound_peer");
_Static_assert(sizeof(struct inbound_explain) == 80, "inbound_explain");

/*
 * weir_inbound_control: the settings in force.
 * key: 0. value: struct inbound_control, eight bytes that are read and written at once.
 * written by: user space. deleted by: nobody. capacity: 1. full: cannot be.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_inbound_control SEC(".maps");

/*
 * weir_inbound_listens: where captured processes listen.
 * key: struct inbound_place. value: struct inbound_count.
 * written by: sockops, and the edit program for user space. deleted by: user space, when nobody has listened there for a while.
 * capacity: 65536 places; memory is taken as entries are added.
 * full: the socket is not captured (INBOUND_LISTEN_LOST) until user space finds it and there is room.
 */
struct {
	__uint(type, MAP_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct inbound_place);
	__type(value, struct inbound_count);
} weir_inbound_listens SEC(".maps");

/*
 * weir_inbound_sockets: which sockets are counted in weir_inbound_listens, so that each is counted once and taken back once.
 * key: struct inbound_half. value: struct inbound_socket.
 * written and deleted by: sockops, and the edit program for user space. capacity, full: as weir_inbound_listens.
 */
struct {
	__uint(type, MAP_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct inbound_half);
	__type(value, struct inbound_socket);
} weir_inbound_sockets SEC(".maps");

/*
 * weir_inbound_rules: which destinations are taken and which are not, by INBOUND_TAKE and INBOUND_LEAVE.
 * key: struct inbound_prefix. value: struct inbound_rule.
 * written by: user space, a whole set under the next generation before that is put in force. deleted by: user space, later.
 * capacity: 65536, two generations together. full: the update is refused and the generation in force stays.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct inbound_prefix);
	__type(value, struct inbound_rule);
} weir_inbound_rules SEC(".maps");

/*
 * weir_inbound_own: connections that the proxy makes to applications on behalf of inbound ones.
 * key: struct inbound_pair. value: struct inbound_peer.
 * written by: user space, before it connects. deleted by: user space, when the connection is closed.
 * capacity: 65536. full: the least recently used entry goes; it matters only until its connection is established.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct inbound_pair);
	__type(value, struct inbound_peer);
} weir_inbound_own SEC(".maps");

/*
 * weir_inbound_names: whom accepted sockets of applications are told as their peer.
 * key: the socket. value: struct inbound_peer.
 * written by: sockops, before the application can have the socket. deleted by: the kernel, with the socket.
 * capacity: memory. full: the application sees the proxy (INBOUND_NAME_LOST).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct inbound_peer);
} weir_inbound_names SEC(".maps");

/*
 * weir_inbound_sinks: the proxy's listening sockets.
 * key: struct inbound_sink. value: the socket.
 * written by: user space. deleted by: the kernel when the socket is closed, also by the death of the proxy.
 * capacity: 8192, two for each namespace. full: the namespace is not captured, which is an error of the update.
 */
struct {
	__uint(type, MAP_SOCKHASH);
	__uint(max_entries, 8192);
	__type(key, struct inbound_sink);
	__type(value, __u64);
} weir_inbound_sinks SEC(".maps");

/*
 * weir_inbound_news: namespaces in which a socket began to listen on ::, of which only user space can find out whether it takes
 * IPv4 too. record: the namespace's cookie.
 * full: the periodic look finds it.
 */
struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, 4096);
} weir_inbound_news SEC(".maps");

/*
 * weir_inbound_reasons: how often each reason was given.
 * key: enum inbound_reason. value: count on this CPU.
 * written by: sk_lookup, sockops. deleted by: nobody. capacity: INBOUND_COUNT. full: cannot be.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INBOUND_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} weir_inbound_reasons SEC(".maps");

#endif
