/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Acceleration: payload between an application and the proxy of the same host goes from socket to socket, past TCP.
 *
 * A socket hands out what was redirected to it before what came by TCP, so the two must never wait in it at once in the wrong
 * order. Bytes may be redirected when everything that was sent by TCP before has been read; they may go by TCP at any time.
 * How much was sent by TCP is taken from the socket itself, because not every send runs these programs (a send that failed
 * half way is repeated without). docs/decisions/0013-acceleration.md has the argument in full.
 */
#include "accel.h"

static __always_inline void add(__u32 counter, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&accel_counters, &counter);

	if (value)
		*value += n;
}

static __always_inline int mapped(const struct weir_addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == be32(0xffff);
}

/* The addresses of a context, which has the same members in sock_ops and sk_msg_md. An IPv4-mapped socket is AF_INET6. */
#define ADDRESSES(ctx, local, remote)                                                                            \
	do {                                                                                                     \
		struct weir_addr r = {                                                                           \
			{ ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3] },      \
		};                                                                                               \
		if (ctx->family == AF_INET || mapped(&r)) {                                                      \
			(local)->word[2] = (remote)->word[2] = be32(0xffff);                                     \
			(local)->word[3] = ctx->local_ip4;                                                       \
			(remote)->word[3] = ctx->remote_ip4;                                                     \
		} else {                                                                                         \
			(local)->word[0] = ctx->local_ip6[0];                                                    \
			(local)->word[1] = ctx->local_ip6[1];                                                    \
			(local)->word[2] = ctx->local_ip6[2];                                                    \
			(local)->word[3] = ctx->local_ip6[3];                                                    \
			*(remote) = r;                                                                           \
		}                                                                                                \
	} while (0)

/* Whether an address is this host's own, seen from a connection to or from local. */
static __always_inline int same_host(const struct weir_addr *local, const struct weir_addr *remote)
{
	if (mapped(remote) && (remote->word[3] & be32(0xff000000)) == be32(0x7f000000))
		return 1;
	return local->word[0] == remote->word[0] && local->word[1] == remote->word[1] &&
	       local->word[2] == remote->word[2] && local->word[3] == remote->word[3];
}

/* Whether the proxy is, in all likelihood, at the other end. */
static __always_inline int towards_proxy(struct bpf_sock_ops *ctx, const struct accel_pair *pair)
{
	struct accel_endpoint at = {};

	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		at.addr = pair->app;
		at.port = pair->app_port;
		return same_host(&pair->app, &pair->proxy) && bpf_map_lookup_elem(&accel_backends, &at);
	}
	at.addr = pair->proxy;
	at.port = pair->proxy_port;
	if (bpf_map_lookup_elem(&accel_doors, &at))
		return 1;
	__builtin_memset(&at.addr, 0, sizeof(at.addr));
	return same_host(&pair->app, &pair->proxy) && bpf_map_lookup_elem(&accel_doors, &at);
}

/* Whether the sender waits to be told when its memory may be used again, which it never is for bytes that were redirected. */
static __always_inline int zero_copy(struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> ENUM_VALUE(enum sock_flags, SOCK_ZEROCOPY) & 1;
}

/* What the socket's count of acknowledged bytes has beside payload, or -1 when the socket is not to be touched. */
static __always_inline int overhead(struct bpf_sock_ops *ctx, struct tcp_sock *tp)
{
	int syn = ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;

	if (FIELD_EXISTS(tp->is_mptcp) && tp->is_mptcp) {
		add(ACCEL_MULTIPATH, 1);
		return -1;
	}
	if (tp->bytes_acked != (__u64)syn || tp->write_seq != tp->snd_una) {
		add(ACCEL_EARLY_DATA, 1);
		return -1;
	}
	if (zero_copy(tp)) {
		add(ACCEL_ZEROCOPY, 1);
		return -1;
	}
	return syn;
}

/*
 * Redirected bytes do not make the sender wait, so one that is faster than its reader falls back to TCP, and comes back from it
 * when nothing is on its way there. With little room in the send buffer that is soon: it holds one message. The receive buffer
 * of a named application has to hold what is redirected beside what comes by TCP.
 */
static __always_inline void set_room(struct bpf_sock_ops *ctx, int full)
{
	int send = 64 << 10, receive = 512 << 10;

	bpf_setsockopt(ctx, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
	if (full)
		bpf_setsockopt(ctx, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
}

/* Takes the socket in. */
static __always_inline struct accel_app *take_in(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct tcp_sock *tp)
{
	int syn = overhead(ctx, tp);
	struct accel_app *app;

	if (syn < 0)
		return 0;
	app = bpf_sk_storage_get(&accel_app_state, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!app) {
		add(ACCEL_NO_ROOM, 1);
		return 0;
	}
	app->syn = syn;
	app->mark = ~0ULL;
	app->cookie = bpf_get_socket_cookie(ctx);
	if (bpf_sock_hash_update(ctx, &accel_apps, &app->cookie, BPF_ANY)) {
		add(ACCEL_NO_ROOM, 1);
		return 0;
	}
	add(ACCEL_SOCKETS, 1);
	return app;
}

/*
 * An application's socket is connected: takes it in when the proxy may be its peer. It may have been taken in already by the
 * program of another cgroup that the application is in.
 */
static __always_inline void established(struct bpf_sock_ops *ctx, int full)
{
	struct accel_peer peer = {};
	struct accel_pair pair = {};
	struct bpf_sock *sk = ctx->sk;
	struct accel_app *app;
	struct tcp_sock *tp;

	if (!sk)
		return;
	ADDRESSES(ctx, &pair.app, &pair.proxy);
	pair.app_port = ctx->local_port;
	pair.proxy_port = be16(ctx->remote_port >> 16);
	if (!towards_proxy(ctx, &pair))
		return;
	pair.netns = bpf_get_netns_cookie(ctx);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	app = bpf_sk_storage_get(&accel_app_state, sk, 0, 0);
	if (!app)
		app = take_in(ctx, sk, tp);
	if (!app)
		return;
	app->full |= full;
	peer.cookie = app->cookie;
	if (app->full)
		peer.address = (__u64)(unsigned long)tp;
	bpf_map_update_elem(&accel_peers, &pair, &peer, BPF_ANY);
	set_room(ctx, full);
}

SEC("sockops")
int weir_accel_sockops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		established(ctx, 0);
	return 1;
}

/* For the cgroups of applications that were named. */
SEC("sockops")
int weir_accel_sockops_full(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		established(ctx, 1);
	return 1;
}

static __always_inline void redirected(__u32 size)
{
	add(ACCEL_REDIRECTED_MESSAGES, 1);
	add(ACCEL_REDIRECTED_BYTES, size);
}

static __always_inline struct accel_slot *slot_of(__u64 link)
{
	__u32 index = (__u32)link;

	return bpf_map_lookup_elem(&accel_slots, &index);
}

static __always_inline __u64 find_link(struct sk_msg_md *msg)
{
	struct accel_pair pair = {};
	__u64 *link;

	ADDRESSES(msg, &pair.app, &pair.proxy);
	pair.app_port = msg->local_port;
	pair.proxy_port = be16(msg->remote_port >> 16);
	pair.netns = bpf_get_netns_cookie(msg);
	link = bpf_map_lookup_elem(&accel_links, &pair);
	return link ? *link : 0;
}

/*
 * Whether a socket may redirect what it sends: TCP has an answer of its own to a socket that has sent its FIN, another layer may
 * have to see the bytes first.
 */
static __always_inline int may_send(struct bpf_sock *sk, struct tcp_sock *tp)
{
	__u32 state = sk->state;

	return tp && (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT) && !tp->inet_conn.icsk_ulp_ops && !zero_copy(tp);
}

/* Whether bytes may be redirected behind unread ones, all that are sent by TCP so far included. */
static __always_inline int fits(struct accel_app *app, struct accel_slot *slot, __u64 tcp, __u32 size)
{
	__u64 unread = tcp + app->redirected - *(volatile __u64 *)&slot->read;

	if (!unread) {
		app->mark = tcp;
		return 1;
	}
	if (tcp != app->mark) {
		add(ACCEL_BEHIND_TCP, 1);
		return 0;
	}
	if (unread + size > slot->limit) {
		__sync_fetch_and_add(&slot->mixed, 1);
		add(ACCEL_OVER_LIMIT, 1);
		return 0;
	}
	return 1;
}

/* An application sends: into the proxy's socket when nothing that it sent by TCP is unread. */
SEC("sk_msg")
int weir_accel_send(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct accel_slot *slot;
	struct accel_app *app;
	struct tcp_sock *tp;
	__u32 size;

	if (!sk)
		return SK_PASS;
	app = bpf_sk_storage_get(&accel_app_state, sk, 0, 0);
	if (!app)
		return SK_PASS;
	if (!app->link) {
		app->link = find_link(msg);
		if (!app->link)
			return SK_PASS;
	}
	slot = slot_of(app->link);
	if (!slot || slot->link != app->link || slot->app != app->cookie) {
		app->link = 0;
		return SK_PASS;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	size = msg->size;
	if (!may_send(sk, tp) || !fits(app, slot, tp->bytes_acked + (__u32)(tp->write_seq - tp->snd_una) - app->syn, size))
		return SK_PASS;
	if (bpf_msg_redirect_hash(msg, &accel_sinks, &app->link, BPF_F_INGRESS) != SK_PASS) {
		app->mark = ~0ULL;
		__sync_fetch_and_add(&slot->mixed, 1);
		return SK_PASS;
	}
	app->redirected += size;
	redirected(size);
	return SK_PASS;
}

/* The most that may wait in an application's socket when the proxy redirects into it, unless half its buffer is less. */
const volatile __u32 weir_accel_full_limit = 0;

/* Whom the proxy's socket may redirect into. */
static __always_inline void find_peer(struct sk_msg_md *msg, struct accel_proxy *own)
{
	struct accel_pair pair = {};
	struct accel_peer *peer;

	ADDRESSES(msg, &pair.proxy, &pair.app);
	pair.proxy_port = msg->local_port;
	pair.app_port = be16(msg->remote_port >> 16);
	pair.netns = bpf_get_netns_cookie(msg);
	peer = bpf_map_lookup_elem(&accel_peers, &pair);
	if (peer)
		own->peer = *peer;
	own->known = 1;
}

#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), &(from))

/*
 * Whether an application's socket has read all that came by TCP, up to sequence number seq, and does not lag behind. What is at
 * the address may be another socket, or none: then the redirect does not find the cookie. That it is connected tells it from one
 * that TCP is done with, whose addresses and ports are in use again.
 */
static __always_inline int has_room(struct tcp_sock *target, __u32 seq, __u32 size)
{
	struct inet_connection_sock *inet = &target->inet_conn;
	struct sock *sk = &inet->icsk_inet.sk;
	unsigned char state = TCP_CLOSE;
	const void *layer = 0;
	int waiting = 0, room = 0, least = 0;
	__u32 read = 0;

	if (READ(state, sk->__sk_common.skc_state) || READ(layer, inet->icsk_ulp_ops) || READ(least, sk->sk_rcvlowat) ||
	    READ(waiting, sk->sk_backlog.rmem_alloc.counter) || READ(room, sk->sk_rcvbuf) || READ(read, target->copied_seq))
		return 0;
	if (state == TCP_CLOSE || layer || least > 1)
		return 0;
	if (read != seq) {
		add(ACCEL_BEHIND_TCP, 1);
		return 0;
	}
	if ((__u32)room / 2 > weir_accel_full_limit)
		room = 2 * weir_accel_full_limit;
	if ((__u32)waiting + size > (__u32)room / 2) {
		add(ACCEL_OVER_LIMIT, 1);
		return 0;
	}
	return 1;
}

/* The proxy sends: into the socket of a named application that has read all that came by TCP. */
SEC("sk_msg")
int weir_accel_receive(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct accel_proxy *own;
	struct tcp_sock *tp;

	if (!sk)
		return SK_PASS;
	own = bpf_sk_storage_get(&accel_proxy_state, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!own)
		return SK_PASS;
	if (!own->known)
		find_peer(msg, own);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!own->peer.address || !may_send(sk, tp))
		return SK_PASS;
	if (!has_room((struct tcp_sock *)(unsigned long)own->peer.address, tp->write_seq, msg->size))
		return SK_PASS;
	if (bpf_msg_redirect_hash(msg, &accel_apps, &own->peer.cookie, BPF_F_INGRESS) == SK_PASS)
		redirected(msg->size);
	return SK_PASS;
}

char weir_license[] SEC("license") = "GPL";
