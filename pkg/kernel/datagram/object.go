package datagram

import (
	_ "embed"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// objectCode is bpf/udp.bpf.c compiled for little-endian machines by tools/generate.
//
//go:embed udp_bpfel.o
var objectCode []byte

// objects are the loaded programs and maps.
type objects struct {
	Connect4     *ebpf.Program `ebpf:"weir_udp_connect4"`
	Connect6     *ebpf.Program `ebpf:"weir_udp_connect6"`
	Sendmsg4     *ebpf.Program `ebpf:"weir_udp_sendmsg4"`
	Sendmsg6     *ebpf.Program `ebpf:"weir_udp_sendmsg6"`
	Recvmsg4     *ebpf.Program `ebpf:"weir_udp_recvmsg4"`
	Recvmsg6     *ebpf.Program `ebpf:"weir_udp_recvmsg6"`
	Getpeername4 *ebpf.Program `ebpf:"weir_udp_getpeername4"`
	Getpeername6 *ebpf.Program `ebpf:"weir_udp_getpeername6"`
	Explain      *ebpf.Program `ebpf:"weir_udp_explain"`
	Find         *ebpf.Program `ebpf:"weir_udp_find"`

	Control *ebpf.Map `ebpf:"weir_udp_control"`
	Rules   *ebpf.Map `ebpf:"weir_udp_rules"`
	Exclude *ebpf.Map `ebpf:"weir_udp_exclude"`
	Dests   *ebpf.Map `ebpf:"weir_udp_dests"`
	Netns   *ebpf.Map `ebpf:"weir_udp_netns"`
	Reasons *ebpf.Map `ebpf:"weir_udp_reasons"`
	// Variables say which decisions are told of, EventsRound and EventsEach of which datagrams.
	events.Variables
	EventsRound *ebpf.Variable `ebpf:"weir_udp_events_round"`
	EventsEach  *ebpf.Variable `ebpf:"weir_udp_events_each"`
}

// loadSpec decodes the embedded object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	return program.Spec(objectCode)
}

// loadObjects hands the programs and maps to the kernel, with the carried maps of a daemon before, and gives what control maps are made
// by; events go through ring. A refusal carries the verifier's whole log.
func loadObjects(pinned *attach.Pinned, ring *events.Ring) (*objects, *ebpf.MapSpec, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, nil, err
	}
	if err := program.SetHelpers(spec, ebpf.CGroupSockAddr, optionalHelpers()); err != nil {
		return nil, nil, err
	}
	var loaded objects
	if err := pinned.Load(spec, &loaded, ring.Replace); err != nil {
		return nil, nil, err
	}
	return &loaded, spec.Maps["weir_udp_control"].InnerMap, nil
}

// optionalHelpers are what the programs use where the kernel has it, by the constant that tells them.
func optionalHelpers() map[string]asm.BuiltinFunc {
	return map[string]asm.BuiltinFunc{
		"weir_udp_have_set_retval": asm.FnSetRetval,      // 5.18
		"weir_have_current_comm":   asm.FnGetCurrentComm, // 6.0
	}
}

func (o *objects) close() error { return program.Close(o) }
