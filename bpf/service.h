/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Offloaded connections: the choice of an endpoint at connect(), and the counting of connections until they are over. Services
 * are in the arena; see types.h.
 */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "maps.h"
#include "policy.h"

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_CLOSING = 11,
	BPF_SOCK_OPS_STATE_CB = 10,
	BPF_SOCK_OPS_RTT_CB = 12,
	BPF_SOCK_OPS_STATE_CB_FLAG = 1 << 2,
	BPF_SOCK_OPS_RTT_CB_FLAG = 1 << 3,
};

/* Members of struct bpf_sock_ops that kernel.h keeps only as room. */
#define ops_cb_flags unread[2]
#define ops_snd_nxt unread[7]
#define ops_snd_una unread[8]

OFFSET_IS(struct bpf_sock_ops, ops_cb_flags, 84);
OFFSET_IS(struct bpf_sock_ops, ops_snd_nxt, 104);
OFFSET_IS(struct bpf_sock_ops, ops_snd_una, 108);
OFFSET_IS(struct bpf_sock_ops, bytes_received, 168);

static __u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static __u64 (*bpf_jiffies64)(void) = (void *)118;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160; /* 5.11 */
static void *(*bpf_skc_to_mptcp_sock)(void *sk) = (void *)196; /* 5.19, optional */
static int (*bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *ctx, int flags) = (void *)59;

#define MAPPED_WORD be32(0xffff)

static __always_inline int is_mapped(const struct weir_addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == MAPPED_WORD;
}

static __always_inline int same_addr(const struct weir_addr *a, const struct weir_addr *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

static __always_inline void settle(struct weir_verdict *v, enum weir_action action, enum weir_reason reason)
{
	v->action = action;
	v->reason = reason;
}

/* Set at load: which daemon's blocks weir_offload entries of these programs speak of. */
const volatile __u32 weir_epoch = 0;

/* Set at load: whether this kernel has bpf_skc_to_mptcp_sock. Without it multipath TCP is offloaded like any other. */
const volatile __u8 weir_have_mptcp_sock = 0;

/* A quarter of a second at 1000 Hz, two and a half at 100 Hz. */
#define TELL_JIFFIES 256

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

static __always_inline void *block_at(__u32 number)
{
	__u32 chunk = number >> CHUNK_BITS, within = number & ((1 << CHUNK_BITS) - 1);
	void *blocks;

	if (!number)
		return 0;
	blocks = bpf_map_lookup_elem(&weir_arena, &chunk);
	return blocks ? bpf_map_lookup_elem(blocks, &within) : 0;
}

/* The endpoint's block in a slot. */
static __always_inline __u32 slot_at(__u32 slots, __u32 slot)
{
	const struct weir_slots *block = block_at(slots + slot / BLOCK_SLOTS);

	return block ? block->endpoint[slot % BLOCK_SLOTS] : 0;
}

/* MurmurHash3's 64-bit finalizer: every bit of x counts for every bit of the result. */
static __always_inline __u64 scramble(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

/*
 * What consistent hashing takes for the client's address. The source address of a socket that is not bound is settled after
 * connect(), by the routing of its network namespace: the namespace stands for it.
 */
static __always_inline __u64 client_hash(const struct weir_query *q)
{
	return scramble(scramble(q->netns) ^ q->source);
}

/* Of two drawn slots, the one whose endpoint has fewer connections. */
static __always_inline __u32 better_of_two(__u32 slots, __u32 count)
{
	__u32 one = slot_at(slots, bpf_get_prandom_u32() % count);
	__u32 other = slot_at(slots, bpf_get_prandom_u32() % count);
	const struct weir_upstream *a = block_at(one), *b = block_at(other);

	return a && b && READ_ONCE(b->active) < READ_ONCE(a->active) ? other : one;
}

static __always_inline __u32 choose(struct weir_service *s, const struct weir_table *t, const struct weir_query *q,
				    int dry)
{
	__u32 slots = q->family == AF_INET ? t->slots4 : t->slots;
	__u32 count = q->family == AF_INET ? t->count4 : t->count;

	switch (t->select) {
	case SELECT_ROUND_ROBIN:
		return slot_at(slots, (dry ? s->cursor : __sync_fetch_and_add(&s->cursor, 1)) % count);
	case SELECT_LEAST_CONNECTIONS:
		return better_of_two(slots, count);
	case SELECT_MAGLEV:
		return slot_at(slots, client_hash(q) % count);
	default:
		return slot_at(slots, bpf_get_prandom_u32() % count);
	}
}

/*
 * Whether this socket has to go through the proxy after all: the service is not known yet, its endpoints are of the other
 * address family, or an endpoint on loopback is meant in the proxy's network namespace. Nobody tells when the kernel closes a
 * subflow that could not begin to connect, so that it would count for ever.
 */
static __always_inline int unfit(const struct weir_control *c, const struct weir_table *t, const struct weir_query *q)
{
	return !t || (q->flags & QUERY_SUBFLOW) || (q->family == AF_INET && t->count && !t->count4) ||
	       ((t->flags & TABLE_LOOPBACK) && q->netns != c->netns);
}

/* A socket that is bound to a source address can reach one address family only: that of the address it asks for. */
static __always_inline int other_family(const struct weir_query *q, const struct weir_upstream *u)
{
	return q->source && is_mapped(&q->addr) != is_mapped(&u->addr);
}

/* Whether the filters in front of the TCP proxy let the connection pass, as far as rules go. The source is not known yet. */
static __always_inline int permits(const struct weir_table *t, const struct weir_query *q, int dry)
{
	struct policy_query asked = { .port = q->port };

	if (!t->policy)
		return 1;
	__builtin_memcpy(&asked.destination, &q->addr, sizeof(asked.destination));
	return policy_allows(t->policy, &asked, dry);
}

/* Whether one more connection beside n would be too many for a connection_limit filter. */
static __always_inline int full_house(const struct weir_table *t, __u32 n)
{
	return t->admit && n >= t->admit;
}

/* Refuses, and counts that. */
static __always_inline void turn_away(struct weir_verdict *v, __u64 *counter, enum weir_reason reason, int dry)
{
	if (!dry)
		__sync_fetch_and_add(counter, 1);
	settle(v, ACTION_REFUSE, reason);
}

/* Turns OFFLOAD by rule into a target, or into another action. */
static __always_inline void offload(const struct weir_control *c, const struct weir_query *q, struct weir_verdict *v,
				    int dry)
{
	struct weir_service *s = block_at(v->service);
	const struct weir_table *t = s ? block_at(READ_ONCE(s->table)) : 0;
	const struct weir_upstream *u;

	if (!s || unfit(c, t, q))
		return settle(v, ACTION_REDIRECT, REASON_OFFLOAD_UNFIT);
	if (full_house(t, READ_ONCE(s->active)))
		return turn_away(v, &s->limited, REASON_CONNECTION_LIMIT, dry);
	if (!permits(t, q, dry))
		return turn_away(v, &s->denied, REASON_POLICY_DENIED, dry);
	if (t->count)
		v->endpoint = choose(s, t, q, dry);
	u = block_at(v->endpoint);
	if (!u)
		return turn_away(v, &s->no_endpoint, REASON_NO_ENDPOINT, dry);
	if (other_family(q, u))
		return settle(v, ACTION_REDIRECT, REASON_OFFLOAD_UNFIT);
	v->target = u->addr;
	v->target_port = u->port;
	if (dry && READ_ONCE(s->active) >= t->limit)
		settle(v, ACTION_REFUSE, REASON_SERVICE_FULL);
}

/* Counts a connection to the chosen endpoint. Returns why there may be no more, or REASON_NONE. */
static __always_inline enum weir_reason take(const struct weir_verdict *v)
{
	struct weir_service *s = block_at(v->service);
	struct weir_upstream *u = block_at(v->endpoint);
	const struct weir_table *t = s ? block_at(READ_ONCE(s->table)) : 0;

	__u32 before;

	if (!s || !u)
		return REASON_SERVICE_FULL;
	before = __sync_fetch_and_add(&s->active, 1);
	if (t && full_house(t, before)) {
		__sync_fetch_and_add(&s->active, -1);
		__sync_fetch_and_add(&s->limited, 1);
		return REASON_CONNECTION_LIMIT;
	}
	if (before >= (t ? t->limit : 0xffffffff)) {
		__sync_fetch_and_add(&s->active, -1);
		__sync_fetch_and_add(&s->overflow, 1);
		return REASON_SERVICE_FULL;
	}
	__sync_fetch_and_add(&s->total, 1);
	__sync_fetch_and_add(&u->active, 1);
	__sync_fetch_and_add(&u->total, 1);
	return REASON_NONE;
}

/* The connection is over, or never came to be: once for each take. The endpoint's block is not touched after this. */
static __always_inline void give_back(struct weir_offload *o)
{
	struct weir_upstream *u;
	struct weir_service *s;

	if (o->state == OFFLOAD_OVER)
		return;
	o->state = OFFLOAD_OVER;
	if (o->epoch != weir_epoch)
		return;
	s = block_at(o->service);
	u = block_at(o->endpoint);
	if (u)
		__sync_fetch_and_add(&u->active, -1);
	if (s)
		__sync_fetch_and_add(&s->active, -1);
}

static __always_inline struct weir_offload *offload_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&weir_offloads, sk, 0, 0) : 0;
}

/*
 * Whether the socket is on its way to the endpoint that it was sent to: with the program attached to a cgroup and to its parent,
 * the second run sees the first one's rewrite.
 */
static __always_inline int sent_there(const struct weir_offload *o, const struct weir_query *q)
{
	return o && o->state == OFFLOAD_TAKEN && o->epoch == weir_epoch && o->target_port == q->port &&
	       same_addr(&o->target, &q->addr);
}

/*
 * A socket that is connecting is not connected: if it still is counted, its end was not seen, which happens when the programs
 * were not attached at the time, or when TCP never began.
 */
static __always_inline void forget_offload(struct bpf_sock_addr *ctx, struct weir_offload *o)
{
	if (!o)
		return;
	give_back(o);
	bpf_sk_storage_delete(&weir_offloads, ctx->sk);
}

/*
 * Carries out an offload. o is what the socket has from an earlier connect(), or 0. Returns why it cannot be, or REASON_NONE.
 */
static __always_inline enum weir_reason undertake(struct bpf_sock_addr *ctx, struct weir_offload *o,
						  const struct weir_query *q, const struct weir_verdict *v)
{
	enum weir_reason reason;

	if (o)
		give_back(o);
	else
		o = bpf_sk_storage_get(&weir_offloads, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return REASON_NO_STORAGE;
	reason = take(v);
	if (reason != REASON_NONE)
		return reason;
	o->addr = q->addr;
	o->port = q->port;
	o->target = v->target;
	o->target_port = v->target_port;
	o->epoch = weir_epoch;
	o->service = v->service;
	o->endpoint = v->endpoint;
	o->half = 0;
	o->closed = 0;
	o->told_at = 0;
	o->began = bpf_ktime_get_coarse_ns() >> BEGAN_SHIFT;
	o->rx_told = 0;
	o->tx_told = 0;
	o->state = OFFLOAD_TAKEN;
	return REASON_NONE;
}

/*
 * TCP begins: from here on its states are reported, and TCP_CLOSE is the last of them however the connection ends. Returns 0 when the
 * connection is not offloaded.
 */
static __always_inline int offload_begins(struct bpf_sock_ops *ctx)
{
	struct weir_offload *o = offload_of(ctx->sk);

	if (!o || o->state != OFFLOAD_TAKEN)
		return 0;
	o->state = OFFLOAD_CONNECTING;
	bpf_sock_ops_cb_flags_set(ctx, ctx->ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	return 1;
}

/* Credits the endpoint with what has come since the last time. The totals may be lower than what was told then, by a FIN. */
static __always_inline void tell_bytes(struct weir_offload *o, struct weir_upstream *u, __u64 rx, __u64 tx)
{
	__sync_fetch_and_add(&u->rx_bytes, rx - o->rx_told);
	__sync_fetch_and_add(&u->tx_bytes, tx - o->tx_told);
	o->rx_told = rx;
	o->tx_told = tx;
}

/* TCP has measured a round trip: what was sent has been acknowledged. Counts the bytes so far, if that is some time ago. */
static __always_inline void offload_lives(struct bpf_sock_ops *ctx)
{
	struct weir_offload *o = offload_of(ctx->sk);
	__u64 rx = ctx->bytes_received, tx = ctx->bytes_acked;
	__u32 now = bpf_jiffies64();
	struct weir_upstream *u;

	tx -= tx ? 1 : 0;
	if (!o || o->state != OFFLOAD_ESTABLISHED || now - o->told_at < TELL_JIFFIES || o->epoch != weir_epoch)
		return;
	if (rx == o->rx_told && tx == o->tx_told)
		return;
	u = block_at(o->endpoint);
	if (!u)
		return;
	o->told_at = now;
	tell_bytes(o, u, rx, tx);
}

/*
 * Payload bytes of a connection that ends in the given state. TCP counts SYN and FIN as bytes of the stream; whether a FIN was
 * received or acknowledged follows from the state. In FIN_WAIT2 a received FIN shows in the count, unless data followed it.
 */
static __always_inline void count_bytes(struct bpf_sock_ops *ctx, struct weir_offload *o, struct weir_upstream *u,
					__u32 state)
{
	int acked = state == TCP_FIN_WAIT2 ||
		    ((state == TCP_LAST_ACK || state == TCP_CLOSING) && ctx->ops_snd_una == ctx->ops_snd_nxt);
	int received = state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING ||
		       (state == TCP_FIN_WAIT2 && (__u32)ctx->bytes_received != o->half);
	__u64 rx = ctx->bytes_received, tx = ctx->bytes_acked;

	rx -= received && rx ? 1 : 0;
	tx -= tx ? 1 : 0;
	tx -= acked && tx ? 1 : 0;
	tell_bytes(o, u, rx, tx);
}

/* A connection changes its state, from args[0] to args[1]. */
static __always_inline void offload_changes(struct bpf_sock_ops *ctx)
{
	__u32 before = ctx->args[0], now = ctx->args[1];
	struct weir_offload *o;
	struct weir_upstream *u;

	if (now != TCP_ESTABLISHED && now != TCP_FIN_WAIT2 && now != TCP_CLOSE)
		return;
	o = offload_of(ctx->sk);
	if (!o || o->state == OFFLOAD_OVER)
		return;
	if (now == TCP_ESTABLISHED) {
		o->state = OFFLOAD_ESTABLISHED;
		bpf_sock_ops_cb_flags_set(ctx, ctx->ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
	}
	if (now == TCP_FIN_WAIT2)
		o->half = ctx->bytes_received;
	if (now != TCP_CLOSE)
		return;
	u = o->epoch == weir_epoch ? block_at(o->endpoint) : 0;
	if (u && o->state == OFFLOAD_ESTABLISHED)
		count_bytes(ctx, o, u, before);
	else if (u && before == TCP_SYN_SENT && !o->closed)
		__sync_fetch_and_add(&u->connect_fail, 1);
	give_back(o);
}

/* The application's last descriptor of the socket is gone, and TCP goes on by itself, if it has begun. */
static __always_inline void offload_closes(struct bpf_sock *sk)
{
	struct weir_offload *o = bpf_sk_storage_get(&weir_offloads, sk, 0, 0);

	if (!o)
		return;
	o->closed = 1;
	if (o->state == OFFLOAD_TAKEN)
		give_back(o);
}

#endif
