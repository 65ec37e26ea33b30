/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Inbound capture: connections to the ports that captured processes listen on are given to a listening socket of the proxy, with
 * their original addresses. sk_lookup decides, in each network namespace by a program of its own; sockops of the captured cgroups
 * learns who listens where. Applications that are to see the client's address are told it by accept() and getpeername().
 *
 * Needs Linux 5.15: sk_lookup is of 5.9, bpf_get_netns_cookie in sockops of 5.15.
 */
#include "inbound.h"

/* No helper in use asks for a GPL-compatible program; the licence leaves room for those that do. */
char weir_license[] SEC("license") = "GPL";

/* Set at load: the cookie of the network namespace that this copy of sk_lookup is attached to, which it cannot ask for. */
const volatile __u64 weir_inbound_netns = 0;

/* Never read. BTF describes what maps and globals are made of; this makes it describe the rest that Go shares. */
const volatile struct inbound_edit weir_inbound_edit_layout = {};
const volatile struct inbound_control weir_inbound_control_layout = {};
const volatile struct inbound_explain weir_inbound_explain_layout = {};
const volatile enum inbound_reason weir_inbound_reason_layout = INBOUND_NONE;
const volatile struct weir_event weir_inbound_event_layout = {};

#define MAPPED_WORD be32(0xffff)
/* bpf_sock_ops_cb_flags of the context. */
#define OPS_FLAGS(ctx) (*(const volatile __u32 *)((const volatile char *)(ctx) + 84))

static __always_inline void count(enum inbound_reason reason)
{
	__u32 key = reason;
	__u64 *counter = bpf_map_lookup_elem(&weir_inbound_reasons, &key);

	if (counter)
		*counter += 1;
}

static __always_inline int is_mapped(const struct inbound_addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == MAPPED_WORD;
}

static __always_inline int is_loopback(const struct inbound_addr *a)
{
	if (is_mapped(a))
		return (a->word[3] & be32(0xff000000)) == be32(0x7f000000);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == be32(1);
}

/* Counts a listening socket, unless it is counted already. Returns 0, or -1 when it is or there is no room. */
static __always_inline int enter(const struct inbound_half *half, const struct inbound_socket *socket)
{
	struct inbound_count *listens, none = {};

	if (bpf_map_update_elem(&weir_inbound_sockets, half, socket, UPDATE_NOEXIST))
		return -1;
	listens = bpf_map_lookup_elem(&weir_inbound_listens, &socket->place);
	if (!listens) {
		bpf_map_update_elem(&weir_inbound_listens, &socket->place, &none, UPDATE_NOEXIST);
		listens = bpf_map_lookup_elem(&weir_inbound_listens, &socket->place);
	}
	if (!listens) {
		map_delete(&weir_inbound_sockets, half);
		return -1;
	}
	if (socket->foreign)
		__sync_fetch_and_add(&listens->foreign, 1);
	else
		__sync_fetch_and_add(&listens->captured, 1);
	return 0;
}

/* Takes back what enter counted. Of two that do so for one socket, the one that deletes the entry counts. */
static __always_inline void leave(const struct inbound_half *half)
{
	const struct inbound_socket *socket = bpf_map_lookup_elem(&weir_inbound_sockets, half);
	struct inbound_socket was;
	struct inbound_count *listens;

	if (!socket)
		return;
	was = *socket;
	if (map_delete(&weir_inbound_sockets, half))
		return;
	listens = bpf_map_lookup_elem(&weir_inbound_listens, &was.place);
	if (!listens)
		return;
	if (was.foreign)
		__sync_fetch_and_add(&listens->foreign, -1);
	else
		__sync_fetch_and_add(&listens->captured, -1);
}

/* An address of a context, by the family of the socket or packet. */
static __always_inline void put_addr(struct inbound_addr *out, __u32 family, __u32 ip4, const struct inbound_addr *ip6)
{
	if (family == AF_INET) {
		out->word[2] = MAPPED_WORD;
		out->word[3] = ip4;
	} else {
		*out = *ip6;
	}
}

/*
 * Where the socket of a sockops call listens. An IPv6 socket bound to a mapped address listens on the IPv4 one. Contexts are read
 * as volatile, and before anything is decided: the compiler would make one load at a computed address of two, which the
 * verifier refuses.
 */
static __always_inline void place_of(const volatile struct bpf_sock_ops *ctx, struct inbound_place *place)
{
	struct inbound_addr ip6 = {
		{ ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] },
	};
	__u32 ip4 = ctx->local_ip4;

	place->port = be16(ctx->local_port);
	put_addr(&place->addr, ctx->family, ip4, &ip6);
}

static __always_inline int is_any6(const struct inbound_addr *a)
{
	return !a->word[0] && !a->word[1] && !a->word[2] && !a->word[3];
}

static __always_inline void on_listen(struct bpf_sock_ops *ctx)
{
	struct inbound_half half = { .cookie = bpf_get_socket_cookie(ctx) };
	struct inbound_socket socket = {};
	struct bpf_sock *sk = ctx->sk;

	if (!sk || sk->bound_dev_if) {
		count(INBOUND_LISTEN_DEVICE);
		return;
	}
	socket.place.netns = bpf_get_netns_cookie(ctx);
	place_of(ctx, &socket.place);
	if (enter(&half, &socket)) {
		count(INBOUND_LISTEN_LOST);
		return;
	}
	count(INBOUND_LISTEN);
	set_ops_flags(ctx, OPS_FLAGS(ctx) | OPS_STATE_FLAG);
	if (ctx->family == AF_INET6 && is_any6(&socket.place.addr))
		ringbuf_output(&weir_inbound_news, &socket.place.netns, sizeof(socket.place.netns), 0);
}

static __always_inline void on_end(struct bpf_sock_ops *ctx)
{
	struct inbound_half half = { .cookie = bpf_get_socket_cookie(ctx) };

	leave(&half);
	half.half = 1;
	leave(&half);
}

static __always_inline int in_force(struct inbound_control *c)
{
	__u32 zero = 0;
	volatile __u64 *slot = bpf_map_lookup_elem(&weir_inbound_control, &zero);
	__u64 now;

	if (!slot)
		return 0;
	now = *slot;
	c->generation = now;
	c->flags = now >> 32;
	return 1;
}

/* A socket of an application begins: when the proxy is at the other end for a client, the socket is told that one. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx)
{
	const volatile struct bpf_sock_ops *now = ctx;
	struct inbound_addr remote6 = {
		{ now->remote_ip6[0], now->remote_ip6[1], now->remote_ip6[2], now->remote_ip6[3] },
	};
	__u32 remote4 = now->remote_ip4, family = now->family;
	struct inbound_control control = {};
	struct inbound_place place = {};
	struct inbound_pair pair = {};
	struct inbound_peer *peer, *name;
	struct bpf_sock *sk = ctx->sk;

	if (!sk || !in_force(&control) || !(control.flags & INBOUND_NAMES))
		return;
	place_of(now, &place);
	pair.netns = bpf_get_netns_cookie(ctx);
	pair.server = place.addr;
	pair.server_port = place.port;
	put_addr(&pair.client, family, remote4, &remote6);
	pair.client_port = now->remote_port >> 16;
	peer = bpf_map_lookup_elem(&weir_inbound_own, &pair);
	if (!peer || !peer->named)
		return;
	name = bpf_sk_storage_get(&weir_inbound_names, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!name) {
		count(INBOUND_NAME_LOST);
		return;
	}
	*name = *peer;
	count(INBOUND_NAMED);
}

/* Attached to captured cgroups where an application is to see the addresses of clients. */
SEC("cgroup/getpeername4")
int weir_inbound_peer4(struct bpf_sock_addr *ctx)
{
	struct inbound_peer *name = ctx->sk ? bpf_sk_storage_get(&weir_inbound_names, ctx->sk, 0, 0) : 0;

	if (name && is_mapped(&name->addr)) {
		ctx->user_ip4 = name->addr.word[3];
		ctx->user_port = name->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int weir_inbound_peer6(struct bpf_sock_addr *ctx)
{
	struct inbound_peer *name = ctx->sk ? bpf_sk_storage_get(&weir_inbound_names, ctx->sk, 0, 0) : 0;

	if (name) {
		ctx->user_ip6[0] = name->addr.word[0];
		ctx->user_ip6[1] = name->addr.word[1];
		ctx->user_ip6[2] = name->addr.word[2];
		ctx->user_ip6[3] = name->addr.word[3];
		ctx->user_port = name->port;
	}
	return 1;
}

/* Attached to captured cgroups. What was accepted inherits the flag of its listener, so that it calls here, too, for nothing. */
SEC("sockops")
int weir_inbound_ops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == OPS_LISTEN)
		on_listen(ctx);
	else if (ctx->op == OPS_STATE && ctx->args[0] == TCP_LISTEN)
		on_end(ctx);
	else if (ctx->op == OPS_PASSIVE)
		on_accept(ctx);
	return 1;
}

/*
 * Attached to captured cgroups. Sockets that listened before sockops was attached do not tell it of their end; all of them tell here,
 * when the last descriptor is closed.
 */
SEC("cgroup/sock_release")
int weir_inbound_release(struct bpf_sock *ctx)
{
	struct inbound_half half = {};

	if (ctx->protocol != IPPROTO_TCP)
		return 1;
	half.cookie = bpf_get_socket_cookie(ctx);
	leave(&half);
	half.half = 1;
	leave(&half);
	return 1;
}

/* Never attached. Run by BPF_PROG_RUN on a struct inbound_edit: does for user space what sockops does. */
SEC("tc")
int weir_inbound_edit(struct __sk_buff *ctx)
{
	const struct inbound_edit *edit = (void *)(long)ctx->data;
	struct inbound_socket socket;
	struct inbound_half half;

	if ((void *)(edit + 1) > (void *)(long)ctx->data_end)
		return -1;
	half = edit->half;
	socket = edit->socket;
	if (edit->operation == INBOUND_ENTER)
		return enter(&half, &socket);
	leave(&half);
	return 0;
}

/* Who listens at a place: sockets on the very address go before those on all addresses, as in the kernel. */
static __always_inline enum inbound_reason listeners(struct inbound_place *place)
{
	const struct inbound_count *at = bpf_map_lookup_elem(&weir_inbound_listens, place);

	if (!at || (!at->captured && !at->foreign)) {
		if (is_mapped(&place->addr))
			place->addr.word[3] = 0;
		else
			__builtin_memset(&place->addr, 0, sizeof(place->addr));
		at = bpf_map_lookup_elem(&weir_inbound_listens, place);
	}
	if (!at || !at->captured)
		return INBOUND_NOT_CAPTURED;
	return at->foreign ? INBOUND_FOREIGN : INBOUND_NONE;
}

/* The rule of the kind that covers the destination: one for its port, or one for any. */
static __always_inline const struct inbound_rule *covered(__u32 generation, enum inbound_kind kind, const struct inbound_pair *pair)
{
	struct inbound_prefix key = {
		.prefixlen = INBOUND_EXACT_BITS + 128,
		.generation = generation,
		.port = pair->server_port,
		.kind = kind,
		.family = is_mapped(&pair->server) ? AF_INET : AF_INET6,
		.addr = pair->server,
	};
	const struct inbound_rule *rule = bpf_map_lookup_elem(&weir_inbound_rules, &key);

	if (rule)
		return rule;
	key.port = 0;
	return bpf_map_lookup_elem(&weir_inbound_rules, &key);
}

/* Whether the proxy takes the connection, by which rule: INBOUND_CAPTURED, or why not. */
static __always_inline enum inbound_reason decide(struct inbound_control c, const struct inbound_pair *pair,
						  struct inbound_rule *by)
{
	const struct inbound_rule *rule;
	struct inbound_place place = { .netns = pair->netns, .addr = pair->server, .port = pair->server_port };
	enum inbound_reason reason;

	if (!(c.flags & INBOUND_ENABLED))
		return INBOUND_DISABLED;
	reason = listeners(&place);
	if (reason != INBOUND_NONE)
		return reason;
	if (!(c.flags & INBOUND_ALL_LOCAL) && is_loopback(&pair->server))
		return INBOUND_LOOPBACK;
	if (bpf_map_lookup_elem(&weir_inbound_own, pair))
		return INBOUND_OWN;
	if (c.flags & INBOUND_NO_RULES)
		return INBOUND_RULES_LOST;
	rule = c.flags & INBOUND_HAS_EXCLUDES ? covered(c.generation, INBOUND_LEAVE, pair) : 0;
	if (rule) {
		*by = *rule;
		return INBOUND_EXCLUDED;
	}
	rule = covered(c.generation, INBOUND_TAKE, pair);
	if (!rule)
		return INBOUND_NO_RULE;
	*by = *rule;
	return INBOUND_CAPTURED;
}

/*
 * Whether the filters of the listener would keep the connection: INBOUND_CAPTURED, or why not. The proxy asks them again: what is
 * let through is counted there, and with dry nothing is counted here.
 */
static __always_inline enum inbound_reason admit(const struct inbound_pair *pair, const struct inbound_rule *rule, int dry)
{
	struct policy_query query = { .port = pair->server_port };

	if (!rule->policy)
		return INBOUND_CAPTURED;
	__builtin_memcpy(&query.source, &pair->client, sizeof(query.source));
	__builtin_memcpy(&query.destination, &pair->server, sizeof(query.destination));
	if (policy_allows(rule->policy, &query, 1))
		return INBOUND_CAPTURED;
	if (!dry)
		policy_allows(rule->policy, &query, 0);
	return INBOUND_POLICY_DENIED;
}

/* Gives the connection to the proxy's socket: INBOUND_CAPTURED, or why that could not be. */
static __always_inline enum inbound_reason give(struct bpf_sk_lookup *ctx)
{
	struct inbound_sink key = { .netns = weir_inbound_netns, .family = ctx->family };
	struct bpf_sock *sk = bpf_map_lookup_elem(&weir_inbound_sinks, &key);
	long failed;

	if (!sk)
		return INBOUND_NO_SOCKET;
	failed = sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	if (failed == -ALREADY_ASSIGNED)
		return INBOUND_OTHER_PROGRAM;
	return failed ? INBOUND_NOT_ASSIGNED : INBOUND_CAPTURED;
}

static __always_inline void pair_of(const volatile struct bpf_sk_lookup *ctx, struct inbound_pair *pair)
{
	struct inbound_addr remote6 = {
		{ ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3] },
	};
	struct inbound_addr local6 = {
		{ ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] },
	};
	__u32 remote4 = ctx->remote_ip4, local4 = ctx->local_ip4, family = ctx->family;

	pair->netns = weir_inbound_netns;
	pair->client_port = ctx->remote_port;
	pair->server_port = be16(ctx->local_port);
	put_addr(&pair->client, family, remote4, &remote6);
	put_addr(&pair->server, family, local4, &local6);
}

/* What becomes of the connection. Where the proxy should have it and cannot, the fail policy says so. */
static __always_inline enum weir_event_action action_of(enum inbound_reason reason, __u32 flags)
{
	if (reason == INBOUND_CAPTURED)
		return EVENT_REDIRECT;
	if (reason == INBOUND_POLICY_DENIED)
		return EVENT_REFUSE;
	if (reason == INBOUND_NO_SOCKET || reason == INBOUND_NOT_ASSIGNED || reason == INBOUND_RULES_LOST)
		return flags & INBOUND_FAIL_CLOSED ? EVENT_REFUSE : EVENT_PASS;
	return EVENT_PASS;
}

/* Tells of a decision if it is among those that are wanted. Who listens there, and who calls, is for user space to find out. */
__verified_alone int weir_inbound_tell(struct inbound_pair *pair, struct inbound_rule *rule, __u32 generation, __u32 action,
				       __u32 reason)
{
	struct weir_event *event;

	if (!pair || !rule || !event_wanted(action, reason) || !event_drawn())
		return 0;
	event = event_room();
	if (!event)
		return 0;
	event->at = bpf_ktime_get_ns();
	event->cookie = 0;
	event->cgroup = 0;
	event->netns = pair->netns;
	__builtin_memcpy(event->addr, &pair->server, sizeof(event->addr));
	__builtin_memset(event->target, 0, sizeof(event->target));
	event->port = pair->server_port;
	event->target_port = 0;
	event->action = action;
	event->reason = reason;
	event->protocol = IPPROTO_TCP;
	event->family = is_mapped(&pair->server) ? AF_INET : AF_INET6;
	event->pid = 0;
	event->uid = 0;
	event->epoch = generation;
	event->listener = 0;
	event->rule = rule->id;
	event->service = 0;
	__builtin_memset(event->command, 0, sizeof(event->command));
	__builtin_memcpy(event->source, &pair->client, sizeof(event->source));
	event->source_port = pair->client_port;
	event->kind = EVENT_ARRIVAL;
	event->direction = EVENT_INBOUND;
	event->flags = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Attached to a network namespace. Runs for each packet that is to find a listening socket, or an unconnected UDP one. */
SEC("sk_lookup")
int weir_inbound(struct bpf_sk_lookup *ctx)
{
	struct inbound_control control = {};
	struct inbound_pair pair = {};
	struct inbound_rule rule = {};
	enum inbound_reason reason;
	enum weir_event_action action;

	if (ctx->protocol != IPPROTO_TCP || !in_force(&control))
		return LOOKUP_PASS;
	pair_of(ctx, &pair);
	reason = decide(control, &pair, &rule);
	if (reason == INBOUND_CAPTURED)
		reason = admit(&pair, &rule, 0);
	if (reason == INBOUND_CAPTURED)
		reason = give(ctx);
	count(reason);
	action = action_of(reason, control.flags);
	if (weir_events_reasons)
		weir_inbound_tell(&pair, &rule, control.generation, action, reason);
	return action == EVENT_REFUSE ? LOOKUP_DROP : LOOKUP_PASS;
}

/* Never attached. Run by BPF_PROG_RUN on a struct inbound_explain: takes the decision on its pair, and counts nothing. */
SEC("tc")
int weir_inbound_explain(struct __sk_buff *ctx)
{
	struct inbound_explain *explain = (void *)(long)ctx->data;
	struct inbound_control control = {};
	struct inbound_rule rule = {};
	struct inbound_sink key = {};
	enum inbound_reason reason;
	struct inbound_pair pair;
	struct bpf_sock *sk;

	if ((void *)(explain + 1) > (void *)(long)ctx->data_end || !in_force(&control))
		return -1;
	pair = explain->pair;
	reason = decide(control, &pair, &rule);
	if (reason == INBOUND_CAPTURED)
		reason = admit(&pair, &rule, 1);
	if (reason == INBOUND_CAPTURED) {
		key.netns = pair.netns;
		key.family = is_mapped(&pair.server) ? AF_INET : AF_INET6;
		sk = bpf_map_lookup_elem(&weir_inbound_sinks, &key);
		if (sk)
			bpf_sk_release(sk);
		else
			reason = INBOUND_NO_SOCKET;
	}
	explain = (void *)(long)ctx->data;
	if ((void *)(explain + 1) > (void *)(long)ctx->data_end)
		return -1;
	explain->rule = rule;
	explain->reason = reason;
	explain->action = action_of(reason, control.flags);
	return 0;
}
