/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * L4 policies: network RBAC on addresses and ports, evaluated at connect() and at accept. A policy is a list of tests that lead to
 * later tests or to an answer, made by pkg/kernel/steer from the configured rules; pkg/kernel/intercept writes it.
 *
 * It needs kernel.h alone, so that any object may include it and has a weir_policies of its own.
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include "kernel.h"

#define POLICY_TESTS 128
#define POLICY_ENGINES 8

enum policy_flag {
	POLICY_SOURCE = 1 << 0, /* the test is about the source, rather than the destination */
	POLICY_IPV6 = 1 << 1,	/* it fails for IPv4 */
};

/* Answers, in the place of a test's number. Lower ones from POLICY_MATCH on count the policies that matched. */
enum policy_answer {
	POLICY_MATCH = 1 << 14,
	POLICY_NO_MATCH = (1 << 15) - 1,
};

enum policy_action {
	POLICY_ALLOW = 0, /* deny what does not match */
	POLICY_DENY = 1,  /* deny what matches */
	POLICY_LOG = 2,	  /* deny nothing */
};

/* 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d, as struct weir_addr. */
struct policy_addr {
	__u32 word[4];
};

/* Holds when the address is addr under mask, and the destination's port from first to last. */
struct policy_test {
	struct policy_addr addr;
	struct policy_addr mask;
	__u16 first; /* host byte order */
	__u16 last;
	__u16 yes; /* a later test of the policy, or enum policy_answer */
	__u16 no;
	__u8 flags;  /* enum policy_flag */
	__u8 engine; /* that the test is of */
	__u16 reserved;
};

/* The programs write the counters, by atomic additions, and nothing else. */
struct policy_engine {
	__u64 allowed;
	__u64 denied;
	__u64 matched;
	__u16 next;  /* first test of the next engine; POLICY_NO_MATCH for the last one */
	__u8 action; /* enum policy_action */
	__u8 shadow; /* 1: counts only */
	__u32 reserved;
};

struct weir_policy {
	struct policy_engine engine[POLICY_ENGINES];
	struct policy_test test[POLICY_TESTS];
};

struct policy_query {
	struct policy_addr source; /* all zero when it is not known */
	struct policy_addr destination;
	__u16 port; /* of the destination, network byte order */
	__u16 reserved;
};

/* What policy_verdict_of and policy_answered return beside other values. */
#define POLICY_ALLOWED 0xffffffff
#define POLICY_DENIED 0xffff

_Static_assert(sizeof(struct policy_test) == 44, "policy_test");
_Static_assert(sizeof(struct policy_engine) == 32, "policy_engine");
_Static_assert(sizeof(struct weir_policy) == 5888, "weir_policy");
_Static_assert(sizeof(struct policy_query) == 36, "policy_query");

/*
 * weir_policies: the policies that services and listeners refer to.
 * key: id, from 1. value: struct weir_policy.
 * written by: user space, once, before anything refers to it; the programs count in it.
 * deleted by: user space, when nothing refers to it any more.
 * capacity: 4096; memory is taken as entries are added. full: the listener is not offloaded.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct weir_policy);
} weir_policies SEC(".maps");

/*
 * The functions below are verified by themselves: the verifier would otherwise follow the loop over the tests through every
 * combination of their outcomes.
 */

static __always_inline int policy_holds(const struct policy_test *t, const struct policy_query *q)
{
	const struct policy_addr *a = t->flags & POLICY_SOURCE ? &q->source : &q->destination;
	__u32 mapped = !a->word[0] && !a->word[1] && a->word[2] == be32(0xffff);
	__u32 differs = ((a->word[0] ^ t->addr.word[0]) & t->mask.word[0]) |
			((a->word[1] ^ t->addr.word[1]) & t->mask.word[1]) |
			((a->word[2] ^ t->addr.word[2]) & t->mask.word[2]) |
			((a->word[3] ^ t->addr.word[3]) & t->mask.word[3]);
	__u16 port = be16(q->port);

	return !differs && port >= t->first && port <= t->last && !(mapped && (t->flags & POLICY_IPV6));
}

/* Where a test leads to. */
__verified_alone __u32 policy_step(struct weir_policy *p, struct policy_query *q, __u32 at)
{
	const struct policy_test *t;

	if (!p || !q)
		return POLICY_NO_MATCH;
	t = &p->test[at & (POLICY_TESTS - 1)];
	return policy_holds(t, q) ? t->yes : t->no;
}

/* Takes the answer of the engine that a test is of: where to go on, or POLICY_DENIED. */
__verified_alone __u32 policy_answered(struct weir_policy *p, __u32 at, __u32 answer, int dry)
{
	struct policy_engine *e;
	int matched = answer != POLICY_NO_MATCH, denied;

	if (!p)
		return POLICY_DENIED;
	e = &p->engine[p->test[at & (POLICY_TESTS - 1)].engine & (POLICY_ENGINES - 1)];
	denied = e->action == POLICY_ALLOW ? !matched : e->action == POLICY_DENY ? matched : 0;
	if (!dry) {
		if (denied)
			__sync_fetch_and_add(&e->denied, 1);
		else
			__sync_fetch_and_add(&e->allowed, 1);
		if (matched)
			__sync_fetch_and_add(&e->matched, 1);
	}
	return denied && !e->shadow ? POLICY_DENIED : e->next;
}

/*
 * What policy id, 0 for none, says of a connection: POLICY_ALLOWED, or the last test, which tells the engine, in the upper half
 * and its answer in the lower. With dry nothing is counted. Tests lead to later ones only, so that there are at most as many
 * steps as tests. Nothing is allowed by a policy that is not there; user space writes one before anything refers to it.
 */
__verified_alone __u32 policy_verdict_of(__u32 id, struct policy_query *q, int dry)
{
	__u32 at = 0, to, next;
	struct weir_policy *p;
	int i;

	if (!id)
		return POLICY_ALLOWED;
	p = bpf_map_lookup_elem(&weir_policies, &id);
	if (!p || !q)
		return POLICY_NO_MATCH;
	for (i = 0; i < POLICY_TESTS; i++) {
		to = policy_step(p, q, at);
		if (to < POLICY_TESTS) {
			at = to;
			continue;
		}
		next = policy_answered(p, at, to, dry);
		if (next == POLICY_DENIED)
			return at << 16 | (to & 0x7fff);
		if (next >= POLICY_TESTS)
			return POLICY_ALLOWED;
		at = next;
	}
	return POLICY_NO_MATCH;
}

static __always_inline int policy_allows(__u32 id, struct policy_query *q, int dry)
{
	return policy_verdict_of(id, q, dry) == POLICY_ALLOWED;
}

#endif
