/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Decisions as they are taken, told to user space while somebody wants to know. */
#ifndef WEIR_EVENTS_H
#define WEIR_EVENTS_H

#include "decide.h"

/* What is told. User space writes these while the programs run; each is read once for a decision. */
volatile __u64 weir_events_reasons = 0; /* bit 1 << enum weir_reason for each that is told; 0: nothing is */
volatile __u32 weir_events_actions = 0; /* bit 1 << enum weir_action */
volatile __u32 weir_events_sample = 0;  /* of 2^32 decisions so many are told, and one more */
/* Decisions that were wanted and found no room. */
volatile __u64 weir_events_lost = 0;

/* Set at load: whether this kernel has bpf_get_current_comm for the hooks (6.0). Without it user space asks /proc. */
const volatile __u8 weir_have_current_comm = 0;

static void *(*bpf_ringbuf_reserve)(void *map, __u64 size, __u64 flags) = (void *)131; /* 5.8 */
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16; /* optional */

/* Tells of a decision if it is among those that are wanted. */
__verified_alone int tell_wanted(struct weir_query *q, struct weir_verdict *v, __u64 cookie)
{
	struct weir_event *event;

	if (!q || !v)
		return 0;
	if (!(weir_events_reasons & 1ULL << (v->reason & 63)) || !(weir_events_actions & 1U << (v->action & 31)))
		return 0;
	if (bpf_get_prandom_u32() > weir_events_sample)
		return 0;
	event = bpf_ringbuf_reserve(&weir_events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&weir_events_lost, 1);
		return 0;
	}
	event->at = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->cgroup = q->cgroup;
	event->netns = q->netns;
	event->addr = q->addr;
	event->target = v->target;
	event->port = q->port;
	event->target_port = v->target_port;
	event->action = v->action;
	event->reason = v->reason;
	event->protocol = q->protocol;
	event->family = q->family;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = bpf_get_current_uid_gid();
	event->epoch = weir_epoch;
	event->listener = v->listener;
	event->rule = v->rule;
	event->service = v->service;
	event->command[0] = 0;
	if (weir_have_current_comm)
		bpf_get_current_comm(event->command, sizeof(event->command));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void tell(struct bpf_sock_addr *ctx, struct weir_query *q, struct weir_verdict *v)
{
	if (weir_events_reasons)
		tell_wanted(q, v, bpf_get_socket_cookie(ctx));
}

#endif
