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
	REASON_COUNT = 17,
};

/* Bits of weir_control.flags. */
enum weir_flag {
	FLAG_ENABLED = 1 << 0,	    /* decide at all */
	FLAG_FAIL_CLOSED = 1 << 1,  /* refuse, rather than pass, what should be captured and cannot be */
	FLAG_HAS_EXCLUDES = 1 << 2, /* weir_exclude has entries of this generation */
};

/* Key of weir_capture and weir_exclude. Generation, port, family and protocol always match exactly; prefixlen counts from generation. */
struct weir_prefix {
	__u32 prefixlen;  /* RULE_EXACT_BITS + significant bits of addr */
	__u32 generation; /* rule set that the entry belongs to */
	__u16 port;	  /* 0: any port */
	__u8 family;	  /* AF_INET or AF_INET6: keeps ::/0 from covering mapped IPv4 */
	__u8 protocol;	  /* IPPROTO_TCP or IPPROTO_UDP */
	struct weir_addr addr;
};
#define RULE_EXACT_BITS 64

struct weir_rule {
	enum weir_action action; /* PASS or REDIRECT; unused in weir_exclude */
	__u32 listener;		 /* id of the listener in the plan of this generation */
	__u32 rule;		 /* id of the rule in the plan of this generation */
};

struct weir_endpoint {
	struct weir_addr addr;
	__u16 port;
	__u16 present; /* 0: there is none */
};

struct weir_control {
	__u32 generation;
	__u32 flags;	  /* enum weir_flag */
	__u32 proxy_mark; /* 0: none */
	__u32 reserved;
	__u64 proxy_cgroup; /* cgroup v2 id, 0: none */
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
	__u32 reserved;
	__u64 cgroup; /* cgroup v2 id of the calling task */
	__u64 netns;  /* cookie of the socket's network namespace */
};

struct weir_verdict {
	enum weir_action action;
	enum weir_reason reason;
	__u32 generation;
	__u32 listener;
	__u32 rule;
	__u16 target_port; /* where REDIRECT goes */
	__u16 reserved;
	struct weir_addr target;
};

/* A captured connection: value of weir_flows and of weir_handoff. */
struct weir_flow {
	struct weir_addr addr; /* destination that the application asked for */
	__u16 port;
	__u16 reserved;
	__u32 generation;
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

/* Data of a run of the explain program: 14 bytes of Ethernet header are what the kernel wants to see first. */
struct weir_explain {
	__u8 ethernet[14];
	__u16 reserved;
	struct weir_query query;
	struct weir_verdict verdict;
};

_Static_assert(sizeof(struct weir_prefix) == 28, "weir_prefix");
_Static_assert(sizeof(struct weir_rule) == 12, "weir_rule");
_Static_assert(sizeof(struct weir_endpoint) == 20, "weir_endpoint");
_Static_assert(sizeof(struct weir_control) == 24, "weir_control");
_Static_assert(sizeof(struct weir_sockets) == 40, "weir_sockets");
_Static_assert(sizeof(struct weir_query) == 48, "weir_query");
_Static_assert(sizeof(struct weir_verdict) == 40, "weir_verdict");
_Static_assert(sizeof(struct weir_flow) == 56, "weir_flow");
_Static_assert(sizeof(struct weir_pair) == 48, "weir_pair");
_Static_assert(sizeof(struct weir_explain) == 104, "weir_explain");

#endif
