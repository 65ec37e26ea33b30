/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The choice of an endpoint at connect(). Services are in the arena; see types.h. */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "maps.h"
#include "policy.h"

static __u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static void *(*bpf_skc_to_mptcp_sock)(void *sk) = (void *)196; /* 5.19, optional */

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

#endif
