/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Callers in network namespaces in which weir has no capture sockets yet: user space is told, and opens some. */
#ifndef WEIR_NETNS_H
#define WEIR_NETNS_H

#include "maps.h"

/* Nanoseconds between two reports of a namespace, which may be one that cannot be served. */
#define STRANGER_INTERVAL 100000000ULL

static __always_inline void report_stranger(const struct weir_query *q)
{
	struct weir_stranger stranger = {
		.netns = q->netns, .at = bpf_ktime_get_ns(), .task = (__u32)bpf_get_current_pid_tgid(),
	};
	const struct weir_stranger *last = bpf_map_lookup_elem(&weir_strangers, &stranger.netns);

	if (last && stranger.at - last->at < STRANGER_INTERVAL)
		return;
	bpf_map_update_elem(&weir_strangers, &stranger.netns, &stranger, BPF_ANY);
	bpf_ringbuf_output(&weir_stranger_news, &stranger, sizeof(stranger), 0);
}

#endif
