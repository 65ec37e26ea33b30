/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The part of the kernel's user-space ABI that weir's programs touch: integer types, context structs, constants, helper
 * numbers. Everything here is frozen ABI (include/uapi/linux/bpf.h), so it needs neither vmlinux.h nor relocation.
 *
 * It is spelled out instead of included because the layout of every context struct ends up in the object's BTF: taking it
 * from the machine's linux/bpf.h would make the committed object depend on which kernel headers are installed.
 */
#ifndef WEIR_KERNEL_H
#define WEIR_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
/* A function that is verified by itself, for any argument (global functions, 5.6; with memory as argument, 5.12). */
#define __verified_alone __attribute__((noinline))

/* BTF map definitions: the loader reads the numbers out of the types of these members. */
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weir's programs are built for little-endian machines only (amd64, arm64)"
#endif
#define be16(x) __builtin_bswap16(x)
#define be32(x) __builtin_bswap32(x)

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	TCP_LISTEN = 10,
	ECONNREFUSED = 111,
};

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_SOCK_OPS_TCP_CONNECT_CB = 3,
};

/* The network namespace of the context, for the socket lookup helpers. */
#define BPF_F_CURRENT_NETNS ((__u64)-1)

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__u16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

/* Addresses and user_port are in network byte order. */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

/*
 * Addresses are in network byte order; remote_port is a network-order port in the upper half of the word, local_port is a
 * host-order port. Members that weir does not read are kept only as room.
 */
struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 unread[23];
	__u64 bytes_received;
	__u64 bytes_acked;
	struct bpf_sock *sk __attribute__((aligned(8)));
};

/* The head of struct __sk_buff, as far as the packet's bounds. */
struct __sk_buff {
	__u32 unread[19];
	__u32 data;
	__u32 data_end;
};

struct bpf_sock_tuple {
	union {
		struct {
			__u32 saddr;
			__u32 daddr;
			__u16 sport;
			__u16 dport;
		} ipv4;
		struct {
			__u32 saddr[4];
			__u32 daddr[4];
			__u16 sport;
			__u16 dport;
		} ipv6;
	};
};

#define OFFSET_IS(type, member, offset) \
	_Static_assert(__builtin_offsetof(type, member) == (offset), #type "." #member " is misplaced")

OFFSET_IS(struct bpf_sock, mark, 16);
OFFSET_IS(struct bpf_sock, state, 72);
OFFSET_IS(struct bpf_sock_addr, user_port, 24);
OFFSET_IS(struct bpf_sock_addr, sk, 64);
OFFSET_IS(struct bpf_sock_ops, remote_port, 64);
OFFSET_IS(struct bpf_sock_ops, sk, 184);
OFFSET_IS(struct __sk_buff, data, 76);
OFFSET_IS(struct __sk_buff, data_end, 80);

/* Helpers, by their number in the kernel. The comment names the first kernel that offers them to every hook used here. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static __u64 (*bpf_get_socket_cookie)(void *ctx) = (void *)46;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static struct bpf_sock *(*bpf_sk_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
					     __u64 flags) = (void *)84;
static long (*bpf_sk_release)(void *sk) = (void *)86;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static long (*bpf_sk_storage_delete)(void *map, void *sk) = (void *)108;
static __u64 (*bpf_get_netns_cookie)(void *ctx) = (void *)122; /* sockops: 5.15 */
static long (*bpf_ringbuf_output)(void *map, void *data, __u64 size, __u64 flags) = (void *)130; /* 5.8 */
static int (*bpf_set_retval)(int retval) = (void *)187;	       /* 5.18, optional */

#endif
