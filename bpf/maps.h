/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* All maps of weir, but for weir_events, which is in event.h. They live as long as the daemon, a pinned link or a socket refers to them; pkg/kernel/pin pins some. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include "types.h"

enum {
	BPF_F_MMAPABLE = 1 << 10,
};

/*
 * weir_control: the settings in force.
 * key: 0. value: an array map of one struct weir_control.
 * written by: user space, which fills a fresh inner map and swaps the pointer. A program therefore sees either all of the old
 *   settings or all of the new ones, and when the swap's system call returns no program still runs on the old ones.
 * deleted by: nobody. capacity: 1. full: cannot be. At load it holds weir_control_off, all zero, which stays so.
 */
struct weir_control_slot {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_control);
} weir_control_off SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct weir_control_slot);
} weir_control SEC(".maps") = {
	.values = { &weir_control_off },
};

/*
 * weir_netns: where the capture sockets are, for each network namespace that has some.
 * key: cookie of the namespace. value: struct weir_sockets.
 * written by: user space. The namespace of the daemon always has an entry, if only one without sockets.
 * deleted by: user space, when it has closed the namespace's sockets.
 * capacity: 8192 namespaces; memory is taken as entries are added.
 * full: the update is refused; connections from the namespace are left to the fail policy (REASON_OTHER_NETNS).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct weir_sockets);
} weir_netns SEC(".maps");

/*
 * weir_strangers: the last report of a connection that should have been captured and came from a network namespace without
 * capture sockets.
 * key: cookie of the namespace. value: struct weir_stranger.
 * written by: the programs. deleted by: nobody. capacity: 1024 namespaces; the least recently used entry makes room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct weir_stranger);
} weir_strangers SEC(".maps");

/*
 * weir_stranger_news: struct weir_stranger, each namespace's at most once in STRANGER_INTERVAL.
 * written by: the programs. read by: user space. capacity: 65536 bytes, the largest page of the supported machines.
 * full: the report is lost; the next connection after the interval makes another one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} weir_stranger_news SEC(".maps");

/*
 * weir_capture: which destinations to capture, and for which listener.
 * key: struct weir_prefix. value: struct weir_rule.
 * written and deleted by: user space, entry by entry, in an order that gives every destination its old rule or its new one.
 * capacity: 262144 entries; memory is taken as entries are added.
 * full: the update is refused and taken back, the rules in force stay.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct weir_prefix);
	__type(value, struct weir_rule);
} weir_capture SEC(".maps");

/*
 * weir_exclude: destinations that are never captured, looked up before weir_capture.
 * key, value, writer, deletion, capacity, full: as weir_capture; of the value only the rule id is used.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct weir_prefix);
	__type(value, struct weir_rule);
} weir_exclude SEC(".maps");

/*
 * weir_covered: which destinations weir_capture, weir_exclude or a capture socket may be for. Most connections of a captured process are
 * for none of them, and this tells so without looking anything up in a trie; a bit that is set says nothing.
 * key: number of a word. value: 64 of the bits of covering_bit().
 * written by: user space, which sets bits before it writes what they are for, and clears them after that is gone.
 * deleted by: nobody. capacity: COVERED_BITS, 8 KB. full: cannot be.
 */
#define COVERED_BITS 65536

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COVERED_BITS / 64);
	__type(key, __u32);
	__type(value, __u64);
} weir_covered SEC(".maps");

/*
 * weir_arena: services, their endpoints and how these are chosen; see struct weir_service.
 * key: number of a chunk. value: an array map of struct weir_block.
 * written by: user space, through mapped memory; the programs count in it. A block that no longer is of use gets another one
 *   after a grace period of the kernel's, when no program can hold it any more.
 * deleted by: nobody. capacity: 1024 chunks, 256 MB; a chunk is made when there is need of it.
 * full: the service is refused, what it was before stays in force.
 */
struct weir_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << CHUNK_BITS);
	__type(key, __u32);
	__type(value, struct weir_block);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__array(values, struct weir_chunk);
} weir_arena SEC(".maps");

/*
 * weir_places: offloaded connections. Making room in a socket's own storage and freeing it costs more than all else that offload
 * adds to a connection; these places are there already.
 * key: low bits of the socket's cookie, which is counted up: sockets that are made one after the other have neighbouring places.
 * value: struct weir_offload, which belongs to the socket whose cookie is its owner.
 * written by: connect4, connect6, sockops, sock_release, which also give places back. deleted by: nobody.
 * capacity: PLACES, 2.25 MB. full: a connection whose place is taken is kept in weir_offloads.
 */
#define PLACES 32768

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct weir_offload);
} weir_places SEC(".maps");

/*
 * weir_offloads: offloaded connections that found their places taken, kept with their sockets.
 * key: the socket. value: struct weir_offload.
 * written by: connect4, connect6, sockops, sock_release. deleted by: the kernel with the socket.
 * capacity: bounded by the sockets; each entry counts against the socket's net.core.optmem_max.
 * full: the connection cannot be offloaded, the fail policy decides (REASON_NO_STORAGE).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_offload);
} weir_offloads SEC(".maps");

/*
 * weir_flows: the destination that an application asked for, kept with its socket.
 * key: the socket. value: struct weir_flow.
 * written by: connect4, connect6. deleted by: the kernel with the socket; connect4, connect6 when the socket connects again and
 *   is not captured.
 * capacity: bounded by the sockets; each entry counts against the socket's net.core.optmem_max.
 * full: the connection cannot be captured, the fail policy decides (REASON_NO_STORAGE).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_flow);
} weir_flows SEC(".maps");

/*
 * weir_handoff: the same, on its way to the proxy.
 * key: struct weir_pair. value: struct weir_flow.
 * written by: sockops, before the SYN leaves. deleted by: user space, when it has accepted the connection.
 * capacity: 16384, several times the default listen backlog (net.core.somaxconn 4096); preallocated, about 3 MB.
 * full: the least recently used entry goes, which is one whose connection was never accepted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct weir_pair);
	__type(value, struct weir_flow);
} weir_handoff SEC(".maps");

/*
 * weir_reasons: how often each reason was given.
 * key: enum weir_reason. value: count on this CPU.
 * written by: connect4, connect6, sockops. deleted by: nobody. capacity: REASON_COUNT. full: cannot be.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} weir_reasons SEC(".maps");

#endif
