/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The decision: what happens to a connection that an application is about to make. It knows a query, not a hook, so that
 * connect4, connect6 and explain cannot disagree. The one thing that needs a hook's context, the liveness of the capture
 * socket, takes it as an opaque pointer.
 */
#ifndef WEIR_DECIDE_H
#define WEIR_DECIDE_H

#include "service.h"

static __always_inline void count(enum weir_reason reason)
{
	__u32 key = reason;
	__u64 *counter = bpf_map_lookup_elem(&weir_reasons, &key);

	if (counter)
		*counter += 1;
}

static __always_inline const struct weir_control *control_in_force(void)
{
	__u32 zero = 0;
	void *slot = bpf_map_lookup_elem(&weir_control, &zero);

	return slot ? bpf_map_lookup_elem(slot, &zero) : 0;
}

/* The capture socket for a destination, or 0: the namespace has none, or none of this address family. */
static __always_inline const struct weir_endpoint *capture_of(const struct weir_sockets *s, const struct weir_addr *a)
{
	const struct weir_endpoint *endpoint;

	if (!s)
		return 0;
	endpoint = is_mapped(a) ? &s->capture4 : &s->capture6;
	return endpoint->present ? endpoint : 0;
}

/* The one place where the fail policy is applied: a connection should be captured and cannot be. */
static __always_inline void give_up(struct weir_verdict *v, const struct weir_control *c, enum weir_reason reason)
{
	settle(v, c->flags & FLAG_FAIL_CLOSED ? ACTION_REFUSE : ACTION_PASS, reason);
}

/* Most specific prefix for the port itself, else most specific prefix for any port. */
static __always_inline const struct weir_rule *find_rule(void *map, const struct weir_query *q)
{
	struct weir_prefix key = {
		.prefixlen = RULE_EXACT_BITS + 128,
		.port = q->port,
		.family = is_mapped(&q->addr) ? AF_INET : AF_INET6,
		.protocol = q->protocol,
		.addr = q->addr,
	};
	const struct weir_rule *rule;

	rule = bpf_map_lookup_elem(map, &key);
	if (rule)
		return rule;
	key.port = 0;
	return bpf_map_lookup_elem(map, &key);
}

/*
 * The bit of weir_covered for what is about a port, 0 for any, and addresses of a family that begin with a byte. Fibonacci hashing:
 * the upper half of the product.
 */
static __always_inline int covering_bit(const struct weir_addr *a, __u16 port)
{
	__u32 mapped = is_mapped(a), first = (mapped ? a->word[3] : a->word[0]) & 0xff;
	__u32 bit = ((mapped << 24 | first << 16 | port) * 0x9e3779b1) >> 16, at = bit / 64;
	const __u64 *word = bpf_map_lookup_elem(&weir_covered, &at);

	return !word || READ_ONCE(*word) >> (bit & 63) & 1;
}

/* Whether a rule, an exclusion or a capture socket may be for the destination. */
static __always_inline int covered(const struct weir_query *q)
{
	return covering_bit(&q->addr, q->port) || covering_bit(&q->addr, 0);
}

/* Connections that are out of the question whatever the rules say: reason, or REASON_NONE. */
static __always_inline enum weir_reason exempt(const struct weir_control *c, const struct weir_query *q)
{
	if (!(c->flags & FLAG_ENABLED))
		return REASON_DISABLED;
	if (c->proxy_mark && c->proxy_mark == q->mark)
		return REASON_PROXY_MARK;
	if (c->proxy_cgroup && c->proxy_cgroup == q->cgroup)
		return REASON_PROXY_CGROUP;
	return REASON_NONE;
}

/* Whether the destination is the capture socket itself. */
static __always_inline int for_proxy(const struct weir_sockets *s, const struct weir_query *q)
{
	const struct weir_endpoint *capture = capture_of(s, &q->addr);

	return capture && capture->port == q->port && same_addr(&capture->addr, &q->addr);
}

/* Decides by the rules alone; whether a REDIRECT can be carried out is for the caller to find out. */
static __always_inline void decide_by_rules(const struct weir_control *c, const struct weir_query *q,
					    struct weir_verdict *v)
{
	const struct weir_rule *rule;

	if (c->flags & FLAG_HAS_EXCLUDES) {
		rule = find_rule(&weir_exclude, q);
		if (rule) {
			v->rule = rule->rule;
			return settle(v, ACTION_PASS, REASON_EXCLUDED);
		}
	}
	rule = find_rule(&weir_capture, q);
	if (!rule)
		return settle(v, ACTION_PASS, REASON_NO_RULE);
	v->rule = rule->rule;
	v->listener = rule->listener;
	v->service = rule->service;
	if (rule->action == ACTION_OFFLOAD)
		return settle(v, ACTION_OFFLOAD, REASON_OFFLOADED);
	if (rule->action != ACTION_REDIRECT)
		return settle(v, ACTION_PASS, REASON_PASS_RULE);
	settle(v, ACTION_REDIRECT, REASON_CAPTURED);
}

/*
 * Whether a socket of the proxy's listens on the verdict's target in the network namespace of ctx. The lookup prefers a
 * connection to a listener; one whose peer has port 0 can only be forged, and is not taken for a listener either. The mark, which
 * takes a privilege to set, tells the proxy's socket from that of a process which has bound the port when the proxy had died.
 */
static __always_inline int listening(void *ctx, const struct weir_control *c, const struct weir_verdict *v)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int alive;

	if (is_mapped(&v->target)) {
		tuple.ipv4.saddr = tuple.ipv4.daddr = v->target.word[3];
		tuple.ipv4.dport = v->target_port;
		sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &v->target, sizeof(v->target));
		__builtin_memcpy(tuple.ipv6.daddr, &v->target, sizeof(v->target));
		tuple.ipv6.dport = v->target_port;
		sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	alive = sk->state == TCP_LISTEN && (!c->proxy_mark || sk->mark == c->proxy_mark);
	bpf_sk_release(sk);
	return alive;
}

/*
 * Sends the connection to the capture socket of the caller's namespace, or leaves it to the fail policy. One exit after the other: where
 * a later test asks again whether there is an endpoint, the verifier of Linux 6.1 follows ways that cannot be.
 */
static __always_inline void capture(void *ctx, const struct weir_control *c, const struct weir_sockets *s,
				    const struct weir_query *q, struct weir_verdict *v)
{
	const struct weir_endpoint *endpoint;

	if (!s)
		return give_up(v, c, REASON_OTHER_NETNS);
	endpoint = capture_of(s, &q->addr);
	if (!endpoint)
		return give_up(v, c, REASON_NO_CAPTURE_SOCKET);
	v->target = endpoint->addr;
	v->target_port = endpoint->port;
	if (q->bound_if)
		return give_up(v, c, REASON_BOUND_DEVICE);
	if (!listening(ctx, c, v))
		give_up(v, c, REASON_NOT_LISTENING);
}

/*
 * The whole decision. v is zeroed by the caller, near is what covered() says of the query. dry is 1 when no connection comes of it:
 * nothing is counted and no endpoint loses its turn. Returns the settings that it was taken under, or 0 when there are none.
 */
static __always_inline const struct weir_control *decide(void *ctx, const struct weir_query *q, struct weir_verdict *v,
							 int near, int dry)
{
	const struct weir_control *c = control_in_force();
	const struct weir_sockets *sockets = 0;
	enum weir_reason reason;

	if (q->protocol != IPPROTO_TCP || !c) {
		settle(v, ACTION_PASS, c ? REASON_NOT_TCP : REASON_DISABLED);
		return c;
	}
	reason = exempt(c, q);
	if (reason == REASON_NONE && near) {
		sockets = bpf_map_lookup_elem(&weir_netns, &q->netns);
		reason = for_proxy(sockets, q) ? REASON_CAPTURE_SOCKET : REASON_NONE;
	}
	if (reason != REASON_NONE) {
		settle(v, ACTION_PASS, reason);
		return c;
	}
	if (c->flags & FLAG_RULES_LOST) {
		give_up(v, c, REASON_RULES_LOST);
		return c;
	}
	if (near)
		decide_by_rules(c, q, v);
	else
		settle(v, ACTION_PASS, REASON_NO_RULE);
	if (v->action == ACTION_OFFLOAD)
		offload(c, q, v, dry);
	if (v->action == ACTION_REDIRECT)
		capture(ctx, c, sockets, q, v);
	return c;
}

#endif
