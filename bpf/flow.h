/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Captured connections: from connect() to the proxy's accept(), and what getpeername() tells. */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include "decide.h"
#include "events.h"
#include "netns.h"
#include "offload.h"

/* Set at load: whether this kernel has bpf_set_retval (5.18). Without it a refused connect() fails with EPERM. */
const volatile __u8 weir_have_set_retval = 0;

static __always_inline int refuse(void)
{
	if (weir_have_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return 0;
}

static __always_inline void put_addr6(struct bpf_sock_addr *ctx, const struct weir_addr *addr, __u16 port)
{
	ctx->user_ip6[0] = addr->word[0];
	ctx->user_ip6[1] = addr->word[1];
	ctx->user_ip6[2] = addr->word[2];
	ctx->user_ip6[3] = addr->word[3];
	ctx->user_port = port;
}

static __always_inline struct weir_flow *flow_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&weir_flows, sk, 0, 0) : 0;
}

/* What an application asked for when it called connect(). */
struct weir_asked {
	struct weir_addr addr;
	__u16 port;
};

/* What getpeername() is to tell of a captured or offloaded socket. Returns 0 for any other. */
static __always_inline int asked_for(struct bpf_sock_addr *ctx, struct weir_asked *asked)
{
	const struct weir_offload *o;
	const struct weir_flow *flow = flow_of(ctx->sk);

	if (flow) {
		asked->addr = flow->addr;
		asked->port = flow->port;
		return 1;
	}
	o = offload_of(bpf_get_socket_cookie(ctx), ctx->sk);
	if (!o)
		return 0;
	asked->addr = o->addr;
	asked->port = o->port;
	return 1;
}

static __always_inline int sends_elsewhere(const struct weir_verdict *v)
{
	return v->action == ACTION_REDIRECT || v->action == ACTION_OFFLOAD;
}

/* Keeps the destination that the application asked for with its socket. Returns 0 when there is no room. */
static __always_inline int remember(struct bpf_sock_addr *ctx, __u64 cookie, const struct weir_query *q,
				    const struct weir_verdict *v)
{
	struct weir_flow *flow = bpf_sk_storage_get(&weir_flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!flow)
		return 0;
	flow->addr = q->addr;
	flow->port = q->port;
	flow->epoch = weir_epoch;
	flow->listener = v->listener;
	flow->rule = v->rule;
	flow->cookie = cookie;
	flow->cgroup = q->cgroup;
	flow->pid = bpf_get_current_pid_tgid() >> 32;
	flow->uid = bpf_get_current_uid_gid();
	return 1;
}

/*
 * A socket may connect again after a failure. What it was captured for before must not outlive that, except on the way to the
 * capture socket: with the program attached to a cgroup and to its parent, the second run sees the first one's rewrite.
 */
static __always_inline void forget(struct bpf_sock_addr *ctx, const struct weir_flow *flow, const struct weir_verdict *v)
{
	if (flow && v->reason != REASON_CAPTURE_SOCKET)
		bpf_sk_storage_delete(&weir_flows, ctx->sk);
}

/* The address that a socket is bound to, folded into a word: a key for hashing. */
static __always_inline __u32 source_of(struct bpf_sock *sk)
{
	if (sk->family == AF_INET)
		return sk->src_ip4;
	return sk->src_ip6[0] ^ sk->src_ip6[1] ^ sk->src_ip6[2] ^ sk->src_ip6[3];
}

/* The protocol of a rule that is for such a socket, or 0. */
static __always_inline __u8 protocol_of(struct bpf_sock_addr *ctx)
{
	__u32 type = ctx->type, protocol = ctx->protocol;

	if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
		return IPPROTO_TCP;
	if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
		return IPPROTO_UDP;
	return 0;
}

/* Offloads, or settles what happens instead. */
static __always_inline void carry_out(struct bpf_sock_addr *ctx, __u64 cookie, const struct weir_control *c,
				      struct weir_offload *before, const struct weir_query *q, struct weir_verdict *v)
{
	enum weir_reason reason = undertake(ctx, cookie, before, q, v);

	if (reason == REASON_NO_STORAGE)
		give_up(v, c, reason);
	else if (reason != REASON_NONE)
		settle(v, ACTION_REFUSE, reason);
}

/* Completes the query from the context, decides, remembers, counts. Returns 0 when connect() is to fail. */
static __always_inline int on_connect(struct bpf_sock_addr *ctx, struct weir_query *q, struct weir_verdict *v)
{
	const struct weir_flow *flow;
	struct weir_offload *before;
	const struct weir_control *c;
	__u64 cookie;
	int near;

	if (!ctx->sk)
		return 1;
	q->port = ctx->user_port;
	q->protocol = protocol_of(ctx);
	q->family = ctx->family;
	q->bound_if = ctx->sk->bound_dev_if;
	q->mark = ctx->sk->mark;
	q->source = source_of(ctx->sk);
	near = covered(q);
	if (near && weir_have_mptcp_sock && bpf_skc_to_mptcp_sock(ctx->sk))
		q->flags |= QUERY_SUBFLOW;
	q->cgroup = bpf_get_current_cgroup_id();
	q->netns = bpf_get_netns_cookie(ctx);
	cookie = bpf_get_socket_cookie(ctx);
	before = offload_of(cookie, ctx->sk);
	flow = flow_of(ctx->sk); /* before the socket has any storage, which makes it cheap */
	if (sent_there(before, q)) {
		count(REASON_OFFLOAD_TARGET);
		return 1;
	}
	c = decide(ctx, q, v, near, 0);
	if (v->action == ACTION_REDIRECT && c && !remember(ctx, cookie, q, v))
		give_up(v, c, REASON_NO_STORAGE);
	if (v->action == ACTION_OFFLOAD && c)
		carry_out(ctx, cookie, c, before, q, v);
	else if (before)
		give_back(before, cookie);
	if (v->action != ACTION_REDIRECT && q->protocol == IPPROTO_TCP)
		forget(ctx, flow, v);
	if (v->reason == REASON_OTHER_NETNS)
		report_stranger(q);
	count(v->reason);
	tell(ctx, q, v);
	return v->action != ACTION_REFUSE;
}

/*
 * Local and remote address as the proxy's accept() reports them. An IPv4-mapped socket is AF_INET6 here, and its IPv6
 * addresses may not be filled in yet; its IPv4 ones are.
 */
static __always_inline void pair_of(struct bpf_sock_ops *ctx, struct weir_pair *pair)
{
	struct weir_addr remote = {
		{ ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3] },
	};

	if (ctx->family == AF_INET || is_mapped(&remote)) {
		pair->client.word[2] = pair->server.word[2] = MAPPED_WORD;
		pair->client.word[3] = ctx->local_ip4;
		pair->server.word[3] = ctx->remote_ip4;
	} else {
		pair->client.word[0] = ctx->local_ip6[0];
		pair->client.word[1] = ctx->local_ip6[1];
		pair->client.word[2] = ctx->local_ip6[2];
		pair->client.word[3] = ctx->local_ip6[3];
		pair->server = remote;
	}
	pair->client_port = be16(ctx->local_port);
	pair->server_port = ctx->remote_port >> 16;
	pair->netns = bpf_get_netns_cookie(ctx);
}

/* The client's port is known and no segment has left: tells the proxy where the connection was going. */
static __always_inline void hand_off(struct bpf_sock_ops *ctx)
{
	const struct weir_flow *flow = flow_of(ctx->sk);
	struct weir_pair pair = {};

	if (!flow)
		return;
	pair_of(ctx, &pair);
	count(bpf_map_update_elem(&weir_handoff, &pair, flow, BPF_ANY) ? REASON_HANDOFF_LOST : REASON_HANDOFF);
}

#endif
