/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who takes the step that is decided about, for events of hooks that run in the caller's context. */
#ifndef WEIR_CALLER_H
#define WEIR_CALLER_H

#include "event.h"

/* Set at load: whether this kernel has bpf_get_current_comm for the hooks (6.0). Without it user space asks /proc. */
const volatile __u8 weir_have_current_comm = 0;

static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16; /* optional */

static __always_inline void event_caller(struct weir_event *event)
{
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = bpf_get_current_uid_gid();
	event->command[0] = 0;
	if (weir_have_current_comm)
		bpf_get_current_comm(event->command, sizeof(event->command));
}

#endif
