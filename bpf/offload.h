/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Offloaded connections, from the choice of an endpoint until TCP is done: where they are kept, and how they are counted. */
#ifndef WEIR_OFFLOAD_H
#define WEIR_OFFLOAD_H

#include "service.h"

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

static __u64 (*bpf_jiffies64)(void) = (void *)118;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160; /* 5.11 */
static int (*bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *ctx, int flags) = (void *)59;

/* A quarter of a second at 1000 Hz, two and a half at 100 Hz. */
#define TELL_JIFFIES 256

/* The place of a socket with this cookie, which may be another one's. */
static __always_inline struct weir_offload *place_of(__u64 cookie)
{
	__u32 at = cookie & (PLACES - 1);

	return bpf_map_lookup_elem(&weir_places, &at);
}

/* The offloaded connection of a socket, or 0. Who writes to it runs while the socket is locked, except offload_closes(). */
static __always_inline struct weir_offload *offload_of(__u64 cookie, struct bpf_sock *sk)
{
	struct weir_offload *o = place_of(cookie);

	if (!o || READ_ONCE(o->owner) == cookie)
		return o;
	if (!READ_ONCE(o->displaced) || !sk)
		return 0;
	o = bpf_sk_storage_get(&weir_offloads, sk, 0, 0);
	return o && READ_ONCE(o->owner) == cookie ? o : 0;
}

/* Room for a connection of a socket that has none, or 0. */
static __always_inline struct weir_offload *make_room(__u64 cookie, struct bpf_sock *sk)
{
	struct weir_offload *place = place_of(cookie), *o;

	if (!place || __sync_val_compare_and_swap(&place->owner, 0, cookie) == 0)
		return place;
	o = bpf_sk_storage_get(&weir_offloads, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return 0;
	__sync_fetch_and_add(&place->displaced, 1);
	o->owner = cookie;
	return o;
}

/* Gives the room of a connection back, which may be another socket's then. Returns 0 when that has been done. */
static __always_inline int leave(struct weir_offload *o, __u64 cookie)
{
	struct weir_offload *place = place_of(cookie);
	int displaced = place && READ_ONCE(place->owner) != cookie;

	if (__sync_val_compare_and_swap(&o->owner, cookie, 0) != cookie)
		return 0;
	if (displaced)
		__sync_fetch_and_add(&place->displaced, -1);
	return 1;
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

/* The connection is over, or never came to be: once for each take. Neither o nor the endpoint's block is touched after this. */
static __always_inline void give_back(struct weir_offload *o, __u64 cookie)
{
	__u32 epoch = o->epoch, service = o->service, endpoint = o->endpoint;
	struct weir_upstream *u;
	struct weir_service *s;

	if (!leave(o, cookie) || epoch != weir_epoch)
		return;
	s = block_at(service);
	u = block_at(endpoint);
	if (u)
		__sync_fetch_and_add(&u->active, -1);
	if (s)
		__sync_fetch_and_add(&s->active, -1);
}

/*
 * Whether the socket is on its way to the endpoint that it was sent to: with the program attached to a cgroup and to its parent,
 * the second run sees the first one's rewrite.
 */
static __always_inline int sent_there(const struct weir_offload *o, const struct weir_query *q)
{
	const struct weir_upstream *u;

	if (!o || o->state != OFFLOAD_TAKEN || o->epoch != weir_epoch)
		return 0;
	u = block_at(o->endpoint);
	return u && u->port == q->port && same_addr(&u->addr, &q->addr);
}

/*
 * Carries out an offload. before is what the socket has from an earlier connect(), or 0. Returns why it cannot be, or REASON_NONE.
 *
 * A socket that is connecting is not connected: if it still is counted, its end was not seen, which happens when the programs
 * were not attached at the time, or when TCP never began.
 */
static __always_inline enum weir_reason undertake(struct bpf_sock_addr *ctx, __u64 cookie, struct weir_offload *before,
						  const struct weir_query *q, const struct weir_verdict *v)
{
	enum weir_reason reason;
	struct weir_offload *o;

	if (before)
		give_back(before, cookie);
	o = make_room(cookie, ctx->sk);
	if (!o)
		return REASON_NO_STORAGE;
	reason = take(v);
	if (reason != REASON_NONE) {
		leave(o, cookie);
		return reason;
	}
	o->addr = q->addr;
	o->port = q->port;
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
	struct weir_offload *o = offload_of(bpf_get_socket_cookie(ctx), ctx->sk);

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
	struct weir_offload *o = offload_of(bpf_get_socket_cookie(ctx), ctx->sk);
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
	__u64 cookie;

	if (now != TCP_ESTABLISHED && now != TCP_FIN_WAIT2 && now != TCP_CLOSE)
		return;
	cookie = bpf_get_socket_cookie(ctx);
	o = offload_of(cookie, ctx->sk);
	if (!o)
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
	give_back(o, cookie);
}

/*
 * The application's last descriptor of the socket is gone, and TCP goes on by itself, if it has begun. It may end at this moment,
 * so that the place is another connection's already: should that one fail to connect, it would not be counted as failed.
 */
static __always_inline void offload_closes(struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(sk);
	struct weir_offload *o = offload_of(cookie, sk);

	if (!o)
		return;
	if (o->state == OFFLOAD_TAKEN)
		give_back(o, cookie);
	else if (o->state == OFFLOAD_CONNECTING)
		o->closed = 1;
}

#endif
