/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What acceleration shares with user space (pkg/kernel/accel/wire.go), its maps, and the parts of the kernel that it reads.
 *
 * The members of struct sock and struct tcp_sock are no user ABI: they are found through the kernel's BTF at load (CO-RE). A
 * kernel without BTF cannot accelerate; everything else of weir does without.
 */
#ifndef WEIR_ACCEL_H
#define WEIR_ACCEL_H

#include "types.h"

enum {
	SK_PASS = 1,
	BPF_F_INGRESS = 1,
	SOL_SOCKET = 1,
	SO_SNDBUF = 7,
	SO_RCVBUF = 8,
	TCP_ESTABLISHED = 1,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_MAP_TYPE_SOCKHASH = 18,
	BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4,
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
};

/* Ports are in host byte order. */
struct accel_endpoint {
	struct weir_addr addr;
	__u32 port;
};
_Static_assert(sizeof(struct accel_endpoint) == 20, "accel_endpoint is shared with Go");

/* A connection between an application and the proxy, both on this host. */
struct accel_pair {
	struct weir_addr app;
	struct weir_addr proxy;
	__u64 netns;
	__u32 app_port;
	__u32 proxy_port;
};
_Static_assert(sizeof(struct accel_pair) == 48, "accel_pair is shared with Go");

/*
 * An application's socket: its cookie, and where the kernel keeps its struct tcp_sock when it belongs to a named application, which
 * alone may be redirected into; else 0.
 */
struct accel_peer {
	__u64 cookie;
	__u64 address;
};
_Static_assert(sizeof(struct accel_peer) == 16, "accel_peer is shared with Go");

/*
 * One accelerated connection, in memory that the proxy maps. A link is the generation of the slot above its index, so that one
 * that was given back is told from the one that has the slot now.
 * read: bytes that the proxy has read from its socket since the connection began. Written by the proxy.
 * mixed: how often bytes were sent by TCP behind redirected ones. Written by BPF.
 * limit: how many redirected bytes may be unread before the next ones go by TCP. Written by the proxy.
 * app: cookie of the application's socket, as addresses and ports may be in use again by another one. Written by the proxy.
 */
struct accel_slot {
	__u64 link;
	__u64 read;
	__u64 mixed;
	__u64 limit;
	__u64 app;
	__u64 room[3];
};
_Static_assert(sizeof(struct accel_slot) == 64, "accel_slot is shared with Go");

#define ACCEL_SLOTS 32768

/*
 * What is known of an application's socket.
 * cookie: its own. link: its slot, 0 while there is none. redirected: bytes that were redirected so far.
 * syn: what tcp_sock.bytes_acked counts beside payload. mark: bytes sent by TCP when redirecting began; while it stays so,
 * nothing has been sent by TCP since.
 */
struct accel_app {
	__u64 cookie;
	__u64 link;
	__u64 redirected;
	__u64 mark;
	__u32 syn;
	__u32 full;
};

/* The proxy's socket as a sender: whom it may redirect into. known: 0 until that has been looked up. */
struct accel_proxy {
	struct accel_peer peer;
	__u64 known;
};

enum accel_counter {
	ACCEL_REDIRECTED_MESSAGES = 0,
	ACCEL_REDIRECTED_BYTES = 1,
	ACCEL_OVER_LIMIT = 2,
	ACCEL_BEHIND_TCP = 3,
	ACCEL_SOCKETS = 4,
	ACCEL_NO_ROOM = 5,
	ACCEL_EARLY_DATA = 6,
	ACCEL_MULTIPATH = 7,
	ACCEL_ZEROCOPY = 8,
	ACCEL_COUNTERS = 9,
};

/*
 * accel_doors: addresses at which the proxy takes connections. An address of zeros stands for every local one.
 * written and deleted by: user space. full: further listeners are not accelerated.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct accel_endpoint);
	__type(value, __u32);
} accel_doors SEC(".maps");

/*
 * accel_backends: addresses of this host that the proxy connects to.
 * written by: user space, before it connects. deleted by: nobody. full: the one not used for longest goes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct accel_endpoint);
	__type(value, __u32);
} accel_backends SEC(".maps");

/*
 * accel_apps: sockets of applications whose peer may be the proxy, by cookie; weir_accel_send is attached to it. It has to last as
 * long as the sockets do, since what was redirected into one and is unread goes with it: each holds the program, and the program
 * is bound to the map, so that it outlives the daemon.
 * written by: sockops. deleted by: the kernel with the socket. full: the connection is not accelerated.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} accel_apps SEC(".maps");

/*
 * accel_peers: which socket of accel_apps a connection has. An entry may outlive its socket.
 * written by: sockops. deleted by: nobody. full: the one not used for longest goes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct accel_pair);
	__type(value, struct accel_peer);
} accel_peers SEC(".maps");

/*
 * accel_links: the slot of a connection, for the application's side to find.
 * written by: user space. deleted by: nobody; a link whose slot has gone is worth nothing. full: the oldest goes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct accel_pair);
	__type(value, __u64);
} accel_links SEC(".maps");

/*
 * accel_sinks: the proxy's sockets, by link. accel_sources: those of them that weir_accel_receive redirects from.
 * written by: user space. deleted by: the kernel with the socket. full: cannot be before the slots are.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} accel_sinks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} accel_sources SEC(".maps");

/* accel_slots: mapped by the proxy. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ACCEL_SLOTS);
	__type(key, __u32);
	__type(value, struct accel_slot);
} accel_slots SEC(".maps");

/* accel_app_state, accel_proxy_state: freed by the kernel with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct accel_app);
} accel_app_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct accel_proxy);
} accel_proxy_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACCEL_COUNTERS);
	__type(key, enum accel_counter);
	__type(value, __u64);
} accel_counters SEC(".maps");

/* remote_port is a network-order port in the upper half of the word, local_port is a host-order port. */
struct sk_msg_md {
	__u64 data;
	__u64 data_end;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 size;
	struct bpf_sock *sk __attribute__((aligned(8)));
};
OFFSET_IS(struct sk_msg_md, remote_port, 60);
OFFSET_IS(struct sk_msg_md, sk, 72);

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct sock_common {
	unsigned char skc_state;
	unsigned long skc_flags;
} KERNEL_TYPE;

struct sock {
	struct sock_common __sk_common;
	struct {
		struct {
			int counter;
		} rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_rcvlowat;
} KERNEL_TYPE;

struct inet_sock {
	struct sock sk;
} KERNEL_TYPE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const void *icsk_ulp_ops;
} KERNEL_TYPE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 copied_seq;
	__u32 write_seq;
	__u32 snd_una;
	__u64 bytes_acked;
	_Bool is_mptcp;
} KERNEL_TYPE;

/* Flags of a socket, as bits of skc_flags. The numbers are the kernel's own. */
enum sock_flags {
	SOCK_ZEROCOPY = 20,
};

#define ENUM_VALUE(type, name) __builtin_preserve_enum_value(*(type *)name, 1)
#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)

static long (*bpf_setsockopt)(void *ctx, int level, int name, void *value, int size) = (void *)49;
static long (*bpf_sock_hash_update)(void *skops, void *map, void *key, __u64 flags) = (void *)70;
static long (*bpf_msg_redirect_hash)(struct sk_msg_md *msg, void *map, void *key, __u64 flags) = (void *)71;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *from) = (void *)113;
static struct tcp_sock *(*bpf_skc_to_tcp_sock)(void *sk) = (void *)137;

#endif
