/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Structs shared with Go (pkg/kernel/intercept/wire.go). Sizes are asserted here; a Go test compares every member's offset
 * and size with the object's BTF. No struct has implicit padding: map keys are compared as bytes.
 *
 * Addresses are 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d. Members named port are in network byte order.
 */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#include "kernel.h"

struct weir_addr {
	__u32 word[4];
};

enum weir_action {
	ACTION_PASS = 0,     /* leave the connection alone */
	ACTION_REDIRECT = 1, /* send it to the capture socket */
	ACTION_REFUSE = 2,   /* make connect() fail */
	ACTION_OFFLOAD = 3,  /* send it to an endpoint of the rule's service */
};

/* Why a verdict was reached. Each has a counter in weir_reasons. Append only: the numbers are part of the counters' ABI. */
enum weir_reason {
	REASON_NONE = 0,
	REASON_NOT_TCP = 1,	       /* not a TCP stream socket */
	REASON_DISABLED = 2,	       /* no plan has been applied, or interception is switched off */
	REASON_PROXY_MARK = 3,	       /* the socket carries the proxy's SO_MARK */
	REASON_PROXY_CGROUP = 4,       /* the caller is in the proxy's own cgroup */
	REASON_CAPTURE_SOCKET = 5,     /* the destination is the capture socket itself */
	REASON_EXCLUDED = 6,	       /* an exclusion covers the destination */
	REASON_NO_RULE = 7,	       /* no capture rule covers the destination */
	REASON_PASS_RULE = 8,	       /* the most specific rule says to pass */
	REASON_CAPTURED = 9,	       /* redirected to the capture socket */
	REASON_NO_CAPTURE_SOCKET = 10, /* fail policy: no capture socket of this address family */
	REASON_OTHER_NETNS = 11,       /* fail policy: the caller is in a network namespace without capture sockets */
	REASON_BOUND_DEVICE = 12,      /* fail policy: the socket is bound to a device, loopback is out of its reach */
	REASON_NOT_LISTENING = 13,     /* fail policy: nobody listens on the capture socket */
	REASON_NO_STORAGE = 14,	       /* fail policy: the original destination could not be stored with the socket */
	REASON_HANDOFF = 15,	       /* original destination handed to user space */
	REASON_HANDOFF_LOST = 16,      /* it could not be: the proxy will not know the original destination */
	REASON_OFFLOADED = 17,	       /* sent to an endpoint */
	REASON_OFFLOAD_TARGET = 18,    /* the destination is the endpoint that this connection has just been sent to */
	REASON_OFFLOAD_UNFIT = 19,     /* captured, since the service cannot be reached from this socket past the proxy */
	REASON_NO_ENDPOINT = 20,       /* refused: the service has no usable endpoint */
	REASON_SERVICE_FULL = 21,      /* refused: the service has as many connections as it may have */
	REASON_POLICY_DENIED = 22,     /* refused: the rules in front of the service's TCP proxy deny it */
	REASON_CONNECTION_LIMIT = 23,  /* refused: the service has as many connections as a connection_limit filter admits */
	REASON_RULES_LOST = 24,	       /* fail policy: the rules did not fit, so that nobody knows what covers the destination */
	REASON_COUNT = 25,	       /* at most 64: weir_events_reasons has a bit for each */
};

/* Bits of weir_control.flags. */
enum weir_flag {
	FLAG_ENABLED = 1 << 0,	    /* decide at all */
	FLAG_FAIL_CLOSED = 1 << 1,  /* refuse, rather than pass, what should be captured and cannot be */
	FLAG_HAS_EXCLUDES = 1 << 2, /* weir_exclude has entries of this generation */
	FLAG_RULES_LOST = 1 << 3,   /* there are no rules to go by: the fail policy is for everything */
};

/* Key of weir_capture and weir_exclude. Port, family and protocol always match exactly; prefixlen counts from port. */
struct weir_prefix {
	__u32 prefixlen; /* RULE_EXACT_BITS + significant bits of addr */
	__u16 port;	 /* 0: any port */
	__u8 family;	 /* AF_INET or AF_INET6: keeps ::/0 from covering mapped IPv4 */
	__u8 protocol;	 /* IPPROTO_TCP or IPPROTO_UDP */
	struct weir_addr addr;
};
#define RULE_EXACT_BITS 32

struct weir_rule {
	enum weir_action action; /* PASS, REDIRECT or OFFLOAD; unused in weir_exclude */
	__u32 listener;		 /* id of the listener */
	__u32 rule;		 /* id of the rule */
	__u32 service;		 /* OFFLOAD: block of its struct weir_service */
};

struct weir_endpoint {
	struct weir_addr addr;
	__u16 port;
	__u16 present; /* 0: there is none */
};

struct weir_control {
	__u32 epoch;	  /* of the daemon: listener ids, rule ids and blocks mean something within it */
	__u32 flags;	  /* enum weir_flag */
	__u32 proxy_mark; /* 0: none */
	__u32 reserved;
	__u64 proxy_cgroup; /* cgroup v2 id, 0: none */
	__u64 netns;	    /* cookie of the proxy's own network namespace */
};

/* The capture sockets that listen in one network namespace. */
struct weir_sockets {
	struct weir_endpoint capture4;
	struct weir_endpoint capture6;
};

/* What a verdict depends on. */
struct weir_query {
	struct weir_addr addr;
	__u16 port;
	__u8 protocol;	/* IPPROTO_TCP for a TCP stream socket, IPPROTO_UDP for a UDP datagram socket, 0 for any other */
	__u8 family;	/* of the socket: AF_INET, or AF_INET6, also when the address is a mapped one */
	__u32 bound_if; /* SO_BINDTODEVICE, 0: none */
	__u32 mark;	/* SO_MARK */
	__u32 source;	/* the address that the socket is bound to, folded into a word; 0: none */
	__u64 cgroup; /* cgroup v2 id of the calling task */
	__u64 netns;  /* cookie of the socket's network namespace */
	__u32 flags;  /* enum weir_query_flag */
	__u32 reserved;
};

enum weir_query_flag {
	QUERY_SUBFLOW = 1 << 0, /* the socket is one that the kernel has made for a multipath TCP connection */
};

struct weir_verdict {
	enum weir_action action;
	enum weir_reason reason;
	__u32 listener;
	__u32 rule;
	__u32 service;	   /* block of the service, also when it cannot be used */
	__u32 endpoint;	   /* OFFLOAD: block of the endpoint */
	__u16 target_port; /* where REDIRECT or OFFLOAD goes */
	__u16 reserved;
	__u32 reserved2;
	struct weir_addr target;
};

/* A captured connection: value of weir_flows and of weir_handoff. */
struct weir_flow {
	struct weir_addr addr; /* destination that the application asked for */
	__u16 port;
	__u16 reserved;
	__u32 epoch; /* of listener and rule */
	__u32 listener;
	__u32 rule;
	__u64 cookie; /* SO_COOKIE of the client's socket */
	__u64 cgroup; /* cgroup v2 id of the task that called connect() */
	__u32 pid;    /* its process id in the initial pid namespace */
	__u32 uid;    /* its user id in the initial user namespace */
};

/* Key of weir_handoff: the accepted connection as the proxy sees it. */
struct weir_pair {
	struct weir_addr client;
	struct weir_addr server;
	__u16 client_port;
	__u16 server_port;
	__u32 reserved;
	__u64 netns; /* cookie: the same addresses may be in use in two namespaces */
};

/*
 * Services live in the arena (weir_arena): an array of blocks of 64 bytes, which user space maps into its memory and writes
 * without system calls. A block is known by its number; 0 is none. What each kind of block is for:
 */
#define CHUNK_BITS 12 /* a chunk of the arena has 4096 blocks, 256 KB */
#define BLOCK_SLOTS 16

struct weir_block {
	__u64 word[8];
};

/* A service for as long as anything refers to it. User space writes table, the programs the rest, by atomic additions. */
struct weir_service {
	__u32 table;  /* block of the struct weir_table in force, 0: none. Stored when the table is complete. */
	__u32 cursor; /* round robin: how often it was a slot's turn */
	__u32 active; /* connections that there are, those that are being made included */
	__u32 reserved;
	__u64 total;	   /* connections that were begun */
	__u64 no_endpoint; /* refused for want of an endpoint */
	__u64 overflow;	   /* refused at the limit */
	__u64 denied;	   /* refused by the policy */
	__u64 limited;	   /* refused since no more are admitted */
	__u64 unused;
};

enum weir_select {
	SELECT_ROUND_ROBIN = 0,
	SELECT_RANDOM = 1,
	SELECT_LEAST_CONNECTIONS = 2, /* the better of two drawn slots */
	SELECT_MAGLEV = 3,	      /* by the hash of the client's address */
};

/* How a service's endpoints are chosen. Nobody writes to a table that is in force: another one takes its place. */
struct weir_table {
	enum weir_select select;
	__u32 count;  /* slots of all endpoints */
	__u32 slots;  /* first of the consecutive blocks of struct weir_slots */
	__u32 count4; /* the same for the IPv4 endpoints alone, which are all that an AF_INET socket can reach */
	__u32 slots4;
	__u32 limit; /* connections that there may be; 0xffffffff: any number */
	__u32 flags; /* enum weir_table_flag */
	__u32 policy; /* of weir_policies, 0: none */
	__u32 admit;  /* connections that a connection_limit filter admits; 0: any number */
	__u32 unused[7];
};

enum weir_table_flag {
	TABLE_LOOPBACK = 1 << 0, /* some endpoint is another one in each network namespace */
};

struct weir_slots {
	__u32 endpoint[BLOCK_SLOTS]; /* blocks of struct weir_upstream */
};

/* An endpoint of one service. User space writes addr and port before a table names it, the programs the rest. */
struct weir_upstream {
	struct weir_addr addr;
	__u16 port;
	__u16 reserved;
	__u32 active;
	__u64 total;
	__u64 connect_fail; /* connections that the endpoint or the network refused or did not answer */
	__u64 rx_bytes;	    /* payload received from it */
	__u64 tx_bytes;	    /* payload that it has acknowledged */
	__u64 unused;
};

enum weir_offload_state {
	OFFLOAD_TAKEN = 1,	/* TCP has not begun */
	OFFLOAD_CONNECTING = 2, /* the SYN is on its way */
	OFFLOAD_ESTABLISHED = 3,
};

/* Nanoseconds to about milliseconds, without a division. */
#define BEGAN_SHIFT 20

/* An offloaded connection, from the choice of its endpoint until TCP is done: value of weir_places and of weir_offloads. */
struct weir_offload {
	__u64 owner;	       /* SO_COOKIE of the socket; 0: there is no connection */
	struct weir_addr addr; /* destination that the application asked for */
	__u16 port;
	__u8 state;  /* enum weir_offload_state */
	__u8 closed; /* 1: the application has closed the socket */
	__u32 epoch; /* of service and endpoint */
	__u32 service;
	__u32 endpoint;
	__u32 half;	 /* low bits of bytes_received when the connection was half closed from here */
	__u32 told_at;	 /* low bits of jiffies when the bytes were counted last */
	__u32 began;	 /* low bits of the monotonic clock >> BEGAN_SHIFT when the application connected */
	__u32 displaced; /* of a place: connections that found it taken and are in weir_offloads */
	__u64 rx_told;	 /* bytes that the endpoint has been credited with */
	__u64 tx_told;
};

/* Data of a run of the explain program: 14 bytes of Ethernet header are what the kernel wants to see first. */
struct weir_explain {
	__u8 ethernet[14];
	__u16 reserved;
	struct weir_query query;
	struct weir_verdict verdict;
};

_Static_assert(sizeof(struct weir_prefix) == 24, "weir_prefix");
_Static_assert(sizeof(struct weir_rule) == 16, "weir_rule");
_Static_assert(sizeof(struct weir_endpoint) == 20, "weir_endpoint");
_Static_assert(sizeof(struct weir_control) == 32, "weir_control");
_Static_assert(sizeof(struct weir_sockets) == 40, "weir_sockets");
_Static_assert(sizeof(struct weir_query) == 56, "weir_query");
_Static_assert(sizeof(struct weir_verdict) == 48, "weir_verdict");
_Static_assert(sizeof(struct weir_flow) == 56, "weir_flow");
_Static_assert(sizeof(struct weir_pair) == 48, "weir_pair");
_Static_assert(sizeof(struct weir_block) == 64, "weir_block");
_Static_assert(sizeof(struct weir_service) == 64, "weir_service");
_Static_assert(sizeof(struct weir_table) == 64, "weir_table");
_Static_assert(sizeof(struct weir_slots) == 64, "weir_slots");
_Static_assert(sizeof(struct weir_upstream) == 64, "weir_upstream");
_Static_assert(sizeof(struct weir_offload) == 72, "weir_offload");
_Static_assert(sizeof(struct weir_explain) == 120, "weir_explain");

/* A task whose connection should have been captured, in a network namespace without capture sockets. */
struct weir_stranger {
	__u64 netns; /* cookie */
	__u64 at;    /* bpf_ktime_get_ns() */
	__u32 task;  /* thread id in the initial pid namespace */
	__u32 unused;
};
_Static_assert(sizeof(struct weir_stranger) == 24, "weir_stranger");

#endif
