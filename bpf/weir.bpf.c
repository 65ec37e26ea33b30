/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Entry points. Each turns its context into a struct weir_query or back again; what happens is decided in decide.h, and how
 * a captured connection is remembered in flow.h.
 *
 * Needs Linux 5.15: bpf_get_netns_cookie in sockops (5.15) and lookup-and-delete on an LRU hash (5.14) are the newest parts.
 */
#include "flow.h"

/* No helper in use asks for a GPL-compatible program; the licence leaves room for those that do. */
char weir_license[] SEC("license") = "GPL";

/*
 * Never read. BTF describes what maps and globals are made of; this makes it describe what the explain program is run on, and
 * what blocks of the arena are.
 */
const volatile struct {
	struct weir_explain explain;
	struct weir_block block;
	struct weir_service service;
	struct weir_table table;
	struct weir_slots slots;
	struct weir_upstream upstream;
	struct weir_event event;
} weir_layouts = {};

SEC("cgroup/connect4")
int weir_connect4(struct bpf_sock_addr *ctx)
{
	struct weir_query query = { .addr = { { 0, 0, MAPPED_WORD, ctx->user_ip4 } } };
	struct weir_verdict verdict = {};

	if (!on_connect(ctx, &query, &verdict))
		return refuse();
	if (sends_elsewhere(&verdict)) {
		ctx->user_ip4 = verdict.target.word[3];
		ctx->user_port = verdict.target_port;
	}
	return 1;
}

SEC("cgroup/connect6")
int weir_connect6(struct bpf_sock_addr *ctx)
{
	struct weir_query query = {
		.addr = { { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] } },
	};
	struct weir_verdict verdict = {};

	if (!on_connect(ctx, &query, &verdict))
		return refuse();
	if (sends_elsewhere(&verdict))
		put_addr6(ctx, &verdict.target, verdict.target_port);
	return 1;
}

SEC("cgroup/getpeername4")
int weir_getpeername4(struct bpf_sock_addr *ctx)
{
	struct weir_asked asked = {};

	if (asked_for(ctx, &asked)) {
		ctx->user_ip4 = asked.addr.word[3];
		ctx->user_port = asked.port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int weir_getpeername6(struct bpf_sock_addr *ctx)
{
	struct weir_asked asked = {};

	if (asked_for(ctx, &asked))
		put_addr6(ctx, &asked.addr, asked.port);
	return 1;
}

/* One case for each event; which events a socket reports beyond the first is switched on socket by socket. */
SEC("sockops")
int weir_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		if (!offload_begins(ctx))
			hand_off(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		offload_changes(ctx);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		offload_lives(ctx);
		break;
	}
	return 1;
}

SEC("cgroup/sock_release")
int weir_release(struct bpf_sock *ctx)
{
	offload_closes(ctx);
	return 1;
}

/* Never attached. Run by BPF_PROG_RUN on a struct weir_explain: answers its query with the decision's own verdict. */
SEC("tc")
int weir_explain(struct __sk_buff *ctx)
{
	struct weir_explain *explain = (void *)(long)ctx->data;
	struct weir_verdict verdict = {};
	struct weir_query query;

	if ((void *)(explain + 1) > (void *)(long)ctx->data_end)
		return -1;
	query = explain->query;
	decide(ctx, &query, &verdict, covered(&query), 1);
	explain = (void *)(long)ctx->data;
	if ((void *)(explain + 1) > (void *)(long)ctx->data_end)
		return -1;
	explain->verdict = verdict;
	return 0;
}
