/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Datagrams: an object of its own, which is loaded and attached only while something is to happen to datagrams. The programs run
 * beside those of weir.bpf.c and look at UDP sockets alone. See udp.h.
 *
 * Needs Linux 5.15: bpf_get_netns_cookie is the newest part.
 */
#include "udp.h"

char weir_udp_license[] SEC("license") = "GPL";

/* Never read: makes BTF describe what programs are run on. */
const volatile struct weir_udp_explain weir_udp_explain_layout = {};
const volatile struct weir_udp_find weir_udp_find_layout = {};
const volatile struct weir_event weir_udp_event_layout = {};

/* Set at load: whether this kernel has bpf_set_retval (5.18). Without it what is refused fails with EPERM. */
const volatile __u8 weir_udp_have_set_retval = 0;

#define UDP_MAPPED be32(0xffff)

static __always_inline int udp_mapped(const struct weir_udp_addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == UDP_MAPPED;
}

static __always_inline int udp_loopback6(const struct weir_udp_addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == be32(1);
}

static __always_inline int udp_same(const struct weir_udp_addr *a, const struct weir_udp_addr *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

static __always_inline void udp_count(enum weir_udp_reason reason)
{
	__u32 key = reason;
	__u64 *counter = bpf_map_lookup_elem(&weir_udp_reasons, &key);

	if (counter)
		*counter += 1;
}

static __always_inline const struct weir_udp_control *udp_control(void)
{
	__u32 zero = 0;
	void *slot = bpf_map_lookup_elem(&weir_udp_control, &zero);

	return slot ? bpf_map_lookup_elem(slot, &zero) : 0;
}

static __always_inline int udp_refuse(void)
{
	if (weir_udp_have_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return 0;
}

/* The slot of a capture socket of IPv6, or UDP_SLOTS. */
static __always_inline __u32 udp_slot_of(const struct weir_udp_ports *p, __u16 port)
{
	__u32 i;

	for (i = 0; i < UDP_SLOTS; i++) {
		if (p->port6[i] == port && port)
			return i;
	}
	return UDP_SLOTS;
}

/* Whether an address is that of a capture socket. */
static __always_inline int udp_is_capture(const struct weir_udp_ports *p, const struct weir_udp_addr *a, __u16 port)
{
	if (!p)
		return 0;
	if (udp_mapped(a))
		return p->port4 && port == p->port4 && (be32(a->word[3]) >> 24) == LOOPBACK_NET;
	return udp_loopback6(a) && udp_slot_of(p, port) < UDP_SLOTS;
}

static __always_inline const struct weir_udp_rule *udp_rule(void *map, __u32 generation, const struct weir_udp_query *q)
{
	struct weir_udp_prefix key = {
		.prefixlen = UDP_EXACT_BITS + 128,
		.generation = generation,
		.port = q->port,
		.family = udp_mapped(&q->addr) ? AF_INET : AF_INET6,
		.addr = q->addr,
	};
	const struct weir_udp_rule *rule = bpf_map_lookup_elem(map, &key);

	if (rule)
		return rule;
	key.port = 0;
	return bpf_map_lookup_elem(map, &key);
}

static __always_inline void udp_settle(struct weir_udp_verdict *v, enum weir_udp_action action,
				       enum weir_udp_reason reason)
{
	v->action = action;
	v->reason = reason;
}

/* The one place where the fail policy is applied. */
static __always_inline void udp_give_up(struct weir_udp_verdict *v, const struct weir_udp_control *c,
					enum weir_udp_reason reason)
{
	udp_settle(v, c->flags & UDP_FLAG_FAIL_CLOSED ? UDP_REFUSE : UDP_PASS, reason);
}

/* Datagrams that are out of the question whatever the rules say: reason, or UDP_NONE. */
static __always_inline enum weir_udp_reason udp_exempt(const struct weir_udp_control *c, const struct weir_udp_ports *p,
						       const struct weir_udp_query *q)
{
	if (!(c->flags & UDP_FLAG_ENABLED))
		return UDP_DISABLED;
	if (c->proxy_mark && c->proxy_mark == q->mark)
		return UDP_PROXY_MARK;
	if (c->proxy_cgroup && c->proxy_cgroup == q->cgroup)
		return UDP_PROXY_CGROUP;
	if (udp_is_capture(p, &q->addr, q->port))
		return UDP_CAPTURE_SOCKET;
	return UDP_NONE;
}

/*
 * Whether the capture sockets of an address family are there and the proxy's, in the network namespace of ctx. The mark, which takes a
 * privilege to set, tells them from those of a process which has bound their ports when the proxy had died. They come and go together,
 * and nobody else can bind a port of theirs at any address: one of them stands for all.
 */
static __always_inline int udp_alive(void *ctx, const struct weir_udp_control *c, const struct weir_udp_ports *p, int mapped)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int alive;

	if (mapped) {
		tuple.ipv4.saddr = tuple.ipv4.daddr = be32((__u32)LOOPBACK_NET << 24 | 1);
		tuple.ipv4.dport = p->port4;
		sk = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv6.saddr[3] = tuple.ipv6.daddr[3] = be32(1);
		tuple.ipv6.dport = p->port6[0];
		sk = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	alive = !c->proxy_mark || sk->mark == c->proxy_mark;
	bpf_sk_release(sk);
	return alive;
}

/* The whole decision, which knows a query, and of the hook where sockets are looked up. v is zeroed by the caller. */
static __always_inline void udp_decide(void *ctx, const struct weir_udp_control *c, const struct weir_udp_ports *p,
				       const struct weir_udp_query *q, struct weir_udp_verdict *v)
{
	const struct weir_udp_rule *rule;
	enum weir_udp_reason reason = udp_exempt(c, p, q);

	v->generation = c->generation;
	if (reason != UDP_NONE)
		return udp_settle(v, UDP_PASS, reason);
	if (c->flags & UDP_FLAG_RULES_LOST)
		return udp_give_up(v, c, UDP_RULES_LOST);
	if (c->flags & UDP_FLAG_HAS_EXCLUDES) {
		rule = udp_rule(&weir_udp_exclude, c->generation, q);
		if (rule) {
			v->rule = rule->rule;
			return udp_settle(v, UDP_PASS, UDP_EXCLUDED);
		}
	}
	rule = udp_rule(&weir_udp_rules, c->generation, q);
	if (!rule)
		return udp_settle(v, UDP_PASS, UDP_NO_RULE);
	v->rule = rule->rule;
	if (rule->action == UDP_REFUSE)
		return udp_settle(v, UDP_REFUSE, UDP_REFUSE_RULE);
	if (rule->action != UDP_REDIRECT)
		return udp_settle(v, UDP_PASS, UDP_PASS_RULE);
	if (!p)
		return udp_give_up(v, c, UDP_OTHER_NETNS);
	if (!(udp_mapped(&q->addr) ? p->port4 : p->port6[0]))
		return udp_give_up(v, c, UDP_NO_CAPTURE_SOCKET);
	if (q->bound_if)
		return udp_give_up(v, c, UDP_BOUND_DEVICE);
	if (!q->elsewhere && !udp_alive(ctx, c, p, udp_mapped(&q->addr)))
		return udp_give_up(v, c, UDP_NOT_LISTENING);
	udp_settle(v, UDP_REDIRECT, UDP_CAPTURED);
}

/* Numbers leave out 127.0.x.y, where hosts have services of their own, and come again after 16.6 million of them. */
#define UDP_FIRST_NUMBER 0x010000
#define UDP_NUMBERS (0xff0000 - UDP_FIRST_NUMBER)

/* The number of a destination, a new one if it has none; 0 when there is no room. */
static __always_inline __u32 udp_number(const struct weir_udp_dest *dest)
{
	__u32 *known = bpf_map_lookup_elem(&weir_udp_numbers, dest);
	__u32 zero = 0, number;
	__u64 *next;

	if (known) {
		number = *known;
		if (!bpf_map_lookup_elem(&weir_udp_dests, &number))
			bpf_map_update_elem(&weir_udp_dests, &number, dest, BPF_ANY);
		return number;
	}
	next = bpf_map_lookup_elem(&weir_udp_next, &zero);
	if (!next)
		return 0;
	number = UDP_FIRST_NUMBER + __sync_fetch_and_add(next, 1) % UDP_NUMBERS;
	if (bpf_map_update_elem(&weir_udp_dests, &number, dest, BPF_ANY))
		return 0;
	if (bpf_map_update_elem(&weir_udp_numbers, dest, &number, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&weir_udp_numbers, dest); /* another CPU was faster */
		return known ? *known : number;
	}
	return number;
}

/* The slot of a destination in its socket, a new one if it has none; UDP_SLOTS when there is no room. */
static __always_inline __u32 udp_slot(struct weir_udp_slots *s, const struct weir_udp_dest *dest)
{
	__u32 start = dest->addr.word[3] ^ dest->addr.word[2] ^ dest->addr.word[1] ^ dest->addr.word[0] ^ dest->port;
	__u32 i;

	start ^= start >> 16;
	start ^= start >> 8;
	start ^= start >> 4;
	for (i = 0; i < UDP_SLOTS; i++) {
		__u32 at = (start + i) & (UDP_SLOTS - 1);
		struct weir_udp_slot *slot = &s->slot[at];

		if (slot->state == SLOT_READY && slot->dest.port == dest->port && udp_same(&slot->dest.addr, &dest->addr))
			return at;
		if (__sync_val_compare_and_swap(&slot->state, SLOT_FREE, SLOT_TAKEN) == SLOT_FREE) {
			slot->dest = *dest;
			__sync_val_compare_and_swap(&slot->state, SLOT_TAKEN, SLOT_READY);
			return at;
		}
	}
	return UDP_SLOTS;
}

/* Gives a datagram its way to a capture socket. Returns 0 when there is none. */
static __always_inline int udp_lead(struct bpf_sock *sk, const struct weir_udp_ports *p,
				    const struct weir_udp_dest *dest, struct weir_udp_dest *to)
{
	struct weir_udp_slots *slots;
	__u32 at;

	if (udp_mapped(&dest->addr)) {
		at = udp_number(dest);
		if (!at)
			return 0;
		to->addr.word[2] = UDP_MAPPED;
		to->addr.word[3] = be32((__u32)LOOPBACK_NET << 24 | at);
		to->port = p->port4;
		return 1;
	}
	slots = bpf_sk_storage_get(&weir_udp_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	at = slots ? udp_slot(slots, dest) : UDP_SLOTS;
	if (at >= UDP_SLOTS)
		return 0;
	to->addr.word[3] = be32(1);
	to->port = p->port6[at];
	return 1;
}

/* Counted up by user space whenever what is wanted changes: what was told before is told anew. */
volatile __u32 weir_udp_events_round = 0;
/* 1: every datagram is told of, and not just the first one of an exchange. */
volatile __u32 weir_udp_events_each = 0;

/* Whether a datagram is the first one of an exchange, or meets with another verdict than the one before. */
static __always_inline int udp_first(const struct weir_udp_query *q, const struct weir_udp_verdict *v, __u64 cookie)
{
	struct weir_udp_flow flow = { .cookie = cookie, .dest = { .addr = q->addr, .port = q->port } };
	__u64 now = (__u64)weir_udp_events_round << 32 | (v->action & 0xff) << 8 | (v->reason & 0xff);
	__u64 *told = bpf_map_lookup_elem(&weir_udp_told, &flow);

	if (told && *told == now)
		return 0;
	bpf_map_update_elem(&weir_udp_told, &flow, &now, BPF_ANY);
	return 1;
}

/* Tells of a decision if it is among those that are wanted. Of exchanges the sample is drawn, and not of datagrams. */
__verified_alone int weir_udp_tell(struct weir_udp_query *q, struct weir_udp_verdict *v, __u64 cookie, __u32 connects)
{
	struct weir_event *event;
	int again;

	if (!q || !v || !event_wanted(v->action, v->reason))
		return 0;
	again = !connects && !udp_first(q, v, cookie);
	if ((again && !weir_udp_events_each) || !event_drawn())
		return 0;
	event = event_room();
	if (!event)
		return 0;
	event->at = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->cgroup = q->cgroup;
	event->netns = q->netns;
	__builtin_memcpy(event->addr, &q->addr, sizeof(event->addr));
	__builtin_memset(event->target, 0, sizeof(event->target));
	event->port = q->port;
	event->target_port = 0;
	event->action = v->action;
	event->reason = v->reason;
	event->protocol = IPPROTO_UDP;
	event->family = udp_mapped(&q->addr) ? AF_INET : AF_INET6;
	event->epoch = v->generation;
	event->listener = 0;
	event->rule = v->rule;
	event->service = 0;
	event->kind = EVENT_DATAGRAM;
	event->direction = EVENT_OUTBOUND;
	event->flags = again ? EVENT_AGAIN : 0;
	event_nowhere(event);
	event_caller(event);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Decides about a datagram or a connect(), and says in to where it goes instead. */
static __always_inline enum weir_udp_action udp_send(struct bpf_sock_addr *ctx, const struct weir_udp_dest *dest,
						     struct weir_udp_dest *to, __u32 connects)
{
	const struct weir_udp_control *c = udp_control();
	struct weir_udp_query q = { .addr = dest->addr, .port = dest->port };
	const struct weir_udp_ports *p;
	struct weir_udp_verdict v = {};
	struct bpf_sock *sk = ctx->sk;

	if (!c || !sk)
		return UDP_PASS;
	q.bound_if = sk->bound_dev_if;
	q.mark = sk->mark;
	q.cgroup = bpf_get_current_cgroup_id();
	q.netns = bpf_get_netns_cookie(ctx);
	p = bpf_map_lookup_elem(&weir_udp_netns, &q.netns);
	udp_decide(ctx, c, p, &q, &v);
	if (v.action == UDP_REDIRECT && (!p || !udp_lead(sk, p, dest, to)))
		udp_give_up(&v, c, UDP_NO_ROOM);
	udp_count(v.reason);
	if (weir_events_reasons)
		weir_udp_tell(&q, &v, bpf_get_socket_cookie(ctx), connects);
	return v.action;
}

/*
 * The address that a capture socket's stands for, into dest. Returns 0, and does nothing, when it is not one or unknown. Nobody but the
 * proxy may answer for other addresses.
 */
static __always_inline int udp_meant(struct bpf_sock_addr *ctx, struct weir_udp_dest *dest)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	const struct weir_udp_ports *p = bpf_map_lookup_elem(&weir_udp_netns, &netns);
	const struct weir_udp_control *c = udp_control();
	const struct weir_udp_slots *slots;
	const struct weir_udp_dest *known;
	__u32 at;

	if (!p || !c || !udp_is_capture(p, &dest->addr, dest->port) || !udp_alive(ctx, c, p, udp_mapped(&dest->addr)))
		return 0;
	if (udp_mapped(&dest->addr)) {
		at = be32(dest->addr.word[3]) & 0xffffff;
		known = bpf_map_lookup_elem(&weir_udp_dests, &at);
		if (!known)
			return 0;
		*dest = *known;
		return 1;
	}
	at = udp_slot_of(p, dest->port);
	slots = ctx->sk ? bpf_sk_storage_get(&weir_udp_sockets, ctx->sk, 0, 0) : 0;
	if (!slots || at >= UDP_SLOTS || slots->slot[at].state != SLOT_READY)
		return 0;
	*dest = slots->slot[at].dest;
	return 1;
}

/* A connected socket's peer is kept for getpeername(); what the socket was connected to before is forgotten. */
static __always_inline void udp_connected(struct bpf_sock_addr *ctx, const struct weir_udp_dest *dest, int captured)
{
	struct weir_udp_dest *peer;

	if (!captured) {
		bpf_sk_storage_delete(&weir_udp_peers, ctx->sk);
		return;
	}
	peer = bpf_sk_storage_get(&weir_udp_peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (peer)
		*peer = *dest;
}

static __always_inline int is_udp(struct bpf_sock_addr *ctx)
{
	__u32 type = ctx->type, protocol = ctx->protocol;

	return type == SOCK_DGRAM && protocol == IPPROTO_UDP;
}

static __always_inline void get4(struct bpf_sock_addr *ctx, struct weir_udp_dest *dest)
{
	dest->addr.word[2] = UDP_MAPPED;
	dest->addr.word[3] = ctx->user_ip4;
	dest->port = ctx->user_port;
}

static __always_inline void get6(struct bpf_sock_addr *ctx, struct weir_udp_dest *dest)
{
	dest->addr.word[0] = ctx->user_ip6[0];
	dest->addr.word[1] = ctx->user_ip6[1];
	dest->addr.word[2] = ctx->user_ip6[2];
	dest->addr.word[3] = ctx->user_ip6[3];
	dest->port = ctx->user_port;
}

static __always_inline void put4(struct bpf_sock_addr *ctx, const struct weir_udp_dest *dest)
{
	ctx->user_ip4 = dest->addr.word[3];
	ctx->user_port = dest->port;
}

static __always_inline void put6(struct bpf_sock_addr *ctx, const struct weir_udp_dest *dest)
{
	ctx->user_ip6[0] = dest->addr.word[0];
	ctx->user_ip6[1] = dest->addr.word[1];
	ctx->user_ip6[2] = dest->addr.word[2];
	ctx->user_ip6[3] = dest->addr.word[3];
	ctx->user_port = dest->port;
}

SEC("cgroup/connect4")
int weir_udp_connect4(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {}, to = {};
	enum weir_udp_action action;

	if (!is_udp(ctx))
		return 1;
	get4(ctx, &dest);
	action = udp_send(ctx, &dest, &to, 1);
	if (action == UDP_REFUSE)
		return udp_refuse();
	udp_connected(ctx, &dest, action == UDP_REDIRECT);
	if (action == UDP_REDIRECT)
		put4(ctx, &to);
	return 1;
}

SEC("cgroup/connect6")
int weir_udp_connect6(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {}, to = {};
	enum weir_udp_action action;

	if (!is_udp(ctx))
		return 1;
	get6(ctx, &dest);
	action = udp_send(ctx, &dest, &to, 1);
	if (action == UDP_REFUSE)
		return udp_refuse();
	udp_connected(ctx, &dest, action == UDP_REDIRECT);
	if (action == UDP_REDIRECT)
		put6(ctx, &to);
	return 1;
}

SEC("cgroup/sendmsg4")
int weir_udp_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {}, to = {};
	enum weir_udp_action action;

	get4(ctx, &dest);
	action = udp_send(ctx, &dest, &to, 0);
	if (action == UDP_REFUSE)
		return udp_refuse();
	if (action == UDP_REDIRECT)
		put4(ctx, &to);
	return 1;
}

SEC("cgroup/sendmsg6")
int weir_udp_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {}, to = {};
	enum weir_udp_action action;

	get6(ctx, &dest);
	action = udp_send(ctx, &dest, &to, 0);
	if (action == UDP_REFUSE)
		return udp_refuse();
	if (action == UDP_REDIRECT)
		put6(ctx, &to);
	return 1;
}

SEC("cgroup/recvmsg4")
int weir_udp_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {};

	get4(ctx, &dest);
	if (udp_meant(ctx, &dest)) {
		put4(ctx, &dest);
		udp_count(UDP_ANSWERED);
	}
	return 1;
}

SEC("cgroup/recvmsg6")
int weir_udp_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct weir_udp_dest dest = {};

	get6(ctx, &dest);
	if (udp_meant(ctx, &dest)) {
		put6(ctx, &dest);
		udp_count(UDP_ANSWERED);
	}
	return 1;
}

SEC("cgroup/getpeername4")
int weir_udp_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct weir_udp_dest *peer;

	if (!is_udp(ctx) || !ctx->sk)
		return 1;
	peer = bpf_sk_storage_get(&weir_udp_peers, ctx->sk, 0, 0);
	if (peer)
		put4(ctx, peer);
	return 1;
}

SEC("cgroup/getpeername6")
int weir_udp_getpeername6(struct bpf_sock_addr *ctx)
{
	const struct weir_udp_dest *peer;

	if (!is_udp(ctx) || !ctx->sk)
		return 1;
	peer = bpf_sk_storage_get(&weir_udp_peers, ctx->sk, 0, 0);
	if (peer)
		put6(ctx, peer);
	return 1;
}

/* Never attached. Run by BPF_PROG_RUN on a struct weir_udp_explain: answers its query with the decision's own verdict. */
SEC("tc")
int weir_udp_explain(struct __sk_buff *ctx)
{
	struct weir_udp_explain *explain = (void *)(long)ctx->data;
	const struct weir_udp_control *c = udp_control();
	struct weir_udp_verdict verdict = {};
	struct weir_udp_query query;

	if (!c || (void *)(explain + 1) > (void *)(long)ctx->data_end)
		return -1;
	query = explain->query;
	udp_decide(ctx, c, bpf_map_lookup_elem(&weir_udp_netns, &query.netns), &query, &verdict);
	explain = (void *)(long)ctx->data;
	if ((void *)(explain + 1) > (void *)(long)ctx->data_end)
		return -1;
	explain->verdict = verdict;
	return 0;
}

/*
 * Never attached. Run by BPF_PROG_RUN on a struct weir_udp_find in the network namespace of the capture sockets: finds the
 * client's socket by the addresses of its datagram, and the destination in the slot that the datagram came by.
 */
SEC("tc")
int weir_udp_find(struct __sk_buff *ctx)
{
	struct weir_udp_find *find = (void *)(long)ctx->data;
	struct bpf_sock_tuple tuple = {};
	const struct weir_udp_slots *slots;
	struct weir_udp_dest dest = {};
	struct bpf_sock *sk;
	__u32 at, found = 0;

	if ((void *)(find + 1) > (void *)(long)ctx->data_end)
		return -1;
	at = find->slot;
	tuple.ipv6.saddr[3] = be32(1);
	tuple.ipv6.sport = find->local_port;
	tuple.ipv6.daddr[0] = find->client.word[0];
	tuple.ipv6.daddr[1] = find->client.word[1];
	tuple.ipv6.daddr[2] = find->client.word[2];
	tuple.ipv6.daddr[3] = find->client.word[3];
	tuple.ipv6.dport = find->client_port;
	if (at >= UDP_SLOTS)
		return -1;
	sk = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	slots = bpf_sk_storage_get(&weir_udp_sockets, sk, 0, 0);
	if (slots && slots->slot[at].state == SLOT_READY) {
		dest = slots->slot[at].dest;
		found = 1;
	}
	bpf_sk_release(sk);
	find = (void *)(long)ctx->data;
	if ((void *)(find + 1) > (void *)(long)ctx->data_end)
		return -1;
	find->dest = dest;
	find->found = found;
	return 0;
}
