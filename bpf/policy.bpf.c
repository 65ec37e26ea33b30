/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The evaluation of L4 policies by itself, for tests: never attached, run by BPF_PROG_RUN. */
#include "policy.h"

char weir_license[] SEC("license") = "GPL";

/* Data of a run: 14 bytes of Ethernet header are what the kernel wants to see first. */
struct policy_run {
	__u8 ethernet[14];
	__u8 reserved[2];
	__u32 policy;
	struct policy_query query;
	__u32 verdict;
	__u32 reserved2;
};

_Static_assert(sizeof(struct policy_run) == 64, "policy_run");

/* Never read. BTF describes what maps and globals are made of; this makes it describe what the program is run on. */
const volatile struct policy_run weir_policy_layout = {};

SEC("tc")
int weir_policy_run(struct __sk_buff *ctx)
{
	struct policy_run *run = (void *)(long)ctx->data;
	struct policy_query query;
	__u32 id, verdict;

	if ((void *)(run + 1) > (void *)(long)ctx->data_end)
		return -1;
	query = run->query;
	id = run->policy;
	verdict = policy_verdict_of(id, &query, 0);
	if (verdict != policy_verdict_of(id, &query, 1))
		return -1;
	run = (void *)(long)ctx->data;
	if ((void *)(run + 1) > (void *)(long)ctx->data_end)
		return -1;
	run->verdict = verdict;
	return 0;
}
