package events

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Kind says which of the kernel's decisions it is, enum weir_event_kind in bpf/event.h.
type Kind uint8

// Kinds.
const (
	// Connect is about connect() of TCP.
	Connect Kind = iota
	// Datagram is about connect() and sendmsg() of UDP.
	Datagram
	// Arrival is about a TCP connection to a process of this host.
	Arrival
	// Kinds is how many there are.
	Kinds
)

// Verdict is what becomes of a connection or datagram, enum weir_event_action.
type Verdict uint8

// Verdicts.
const (
	// Pass leaves it alone.
	Pass Verdict = iota
	// Redirect gives it to the proxy.
	Redirect
	// Refuse makes the client's call fail.
	Refuse
	// Offload sends it to an endpoint, past the proxy.
	Offload
)

// Verdicts are the names of all, each at its number.
func Verdicts() []string { return []string{"pass", "redirect", "refuse", "offload"} }

// String returns "pass", "redirect", "refuse" or "offload".
func (v Verdict) String() string {
	if names := Verdicts(); int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict_%d", uint8(v))
}

// Protocols of events, as in include/uapi/linux/in.h; others are those of sockets that weir leaves alone.
const (
	TCP = 6
	UDP = 17
)

// wireEvent is struct weir_event of bpf/event.h.
type wireEvent struct {
	At, Cookie, Cgroup, Netns                uint64
	Addr, Target                             [16]byte
	Port, TargetPort                         [2]byte
	Action, Reason, Protocol, Family         uint8
	PID, UID, Epoch, Listener, Rule, Service uint32
	Command                                  [16]byte
	Source                                   [16]byte
	SourcePort                               [2]byte
	Kind, Direction                          uint8
	Flags                                    uint32
}

// flagAgain is EVENT_AGAIN.
const flagAgain = 1

// Event is a decision that the kernel has taken.
type Event struct {
	// At is when it was taken.
	At   time.Time
	Kind Kind
	// Inbound tells that it is about what comes in to a process of this host; otherwise a process of this host begins it.
	Inbound bool
	// Protocol is TCP, UDP, or that of a socket which weir leaves alone.
	Protocol uint8
	// Src is the client, known where something comes in. Dst is where it wants to go. Target is the capture socket or endpoint that a
	// connection was sent to by connect(), the zero value otherwise. IPv4 is unmapped.
	Src, Dst, Target netip.AddrPort
	Verdict          Verdict
	// Code is the reason's number within the kind, Reason its name.
	Code   uint8
	Reason string
	// Listener that the rule was made for and Service that it offloads to, "" when there is none or it has gone; Rule is the number of
	// the rule, 0 for none.
	Listener, Service string
	Rule              uint32
	// Cookie is the client socket's SO_COOKIE, 0 where something comes in. Netns is the cookie of the network namespace.
	Cookie, Netns uint64
	// Cgroup is the id of the cgroup of the calling task. PID and UID are its process and user id in the initial namespaces.
	// Command is the process's name, "" before Linux 6.0. All are zero where something comes in.
	Cgroup   uint64
	PID, UID uint32
	Command  string
	// Again tells that a datagram is not the first one of its exchange; these are told with Wanted.EachDatagram alone.
	Again bool
}

// By are the numbers in an event by which a Source knows its own.
type By struct{ Epoch, Listener, Rule, Service uint32 }

// Want says which decisions of a kind are told of: a bit 1 << Verdict and 1 << code of the reason for each; a decision needs both.
type Want struct {
	Verdicts uint32
	Reasons  uint64
}

// Wanted says which decisions are told of. The zero value wants none.
type Wanted struct {
	Of [Kinds]Want
	// Sample is the share of those decisions that is told, above 0 and at most 1, drawn for each, and of datagrams for each exchange.
	Sample float64
	// EachDatagram wants every datagram, rather than the first one of what a socket sends to a destination.
	EachDatagram bool
}

// Everything wants each decision, and of datagrams the first ones.
func Everything() Wanted {
	w := Wanted{Sample: 1}
	for k := range w.Of {
		w.Of[k] = Want{^uint32(0), ^uint64(0)}
	}
	return w
}

// decode reads a record. clock is what the wall clock has more than the kernel's. The words are for the Source.
func decode(record []byte, clock time.Duration) (*Event, By, error) {
	var w wireEvent
	if _, err := binary.Decode(record, binary.NativeEndian, &w); err != nil {
		return nil, By{}, fmt.Errorf("decode event: %w", err)
	}
	e := &Event{
		At: time.Unix(0, int64(w.At)).Add(clock), Kind: Kind(w.Kind), Inbound: w.Direction != 0, Protocol: w.Protocol,
		Src: addrPort(w.Source, w.SourcePort), Dst: addrPort(w.Addr, w.Port), Verdict: Verdict(w.Action), Code: w.Reason, Rule: w.Rule,
		Cookie: w.Cookie, Netns: w.Netns, Cgroup: w.Cgroup, PID: w.PID, UID: w.UID, Again: w.Flags&flagAgain != 0,
	}
	if w.Source == [16]byte{} {
		e.Src = netip.AddrPort{}
	}
	if e.Kind == Connect && (e.Verdict == Redirect || e.Verdict == Offload) {
		e.Target = addrPort(w.Target, w.TargetPort)
	}
	name, _, _ := bytes.Cut(w.Command[:], []byte{0})
	e.Command = string(name)
	return e, By{Epoch: w.Epoch, Listener: w.Listener, Rule: w.Rule, Service: w.Service}, nil
}

func addrPort(a [16]byte, port [2]byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), binary.BigEndian.Uint16(port[:]))
}
