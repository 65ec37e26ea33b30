/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Decisions about connect(), told to user space. */
#ifndef WEIR_EVENTS_H
#define WEIR_EVENTS_H

#include "caller.h"
#include "decide.h"

/* Tells of a decision if it is among those that are wanted. */
__verified_alone int tell_wanted(struct weir_query *q, struct weir_verdict *v, __u64 cookie)
{
	struct weir_event *event;

	if (!q || !v || !event_wanted(v->action, v->reason) || !event_drawn())
		return 0;
	event = event_room();
	if (!event)
		return 0;
	event->at = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->cgroup = q->cgroup;
	event->netns = q->netns;
	__builtin_memcpy(event->addr, &q->addr, sizeof(event->addr));
	__builtin_memcpy(event->target, &v->target, sizeof(event->target));
	event->port = q->port;
	event->target_port = v->target_port;
	event->action = v->action;
	event->reason = v->reason;
	event->protocol = q->protocol;
	event->family = q->family;
	event->epoch = weir_epoch;
	event->listener = v->listener;
	event->rule = v->rule;
	event->service = v->service;
	event->kind = EVENT_CONNECT;
	event->direction = EVENT_OUTBOUND;
	event->flags = 0;
	event_nowhere(event);
	event_caller(event);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void tell(struct bpf_sock_addr *ctx, struct weir_query *q, struct weir_verdict *v)
{
	if (weir_events_reasons)
		tell_wanted(q, v, bpf_get_socket_cookie(ctx));
}

#endif
