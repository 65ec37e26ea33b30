package datagram

import (
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

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
func loadObjects(state *pinned, ring *events.Ring) (*objects, *ebpf.MapSpec, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, nil, err
	}
	for name, helper := range optionalHelpers() {
		if features.HaveProgramHelper(ebpf.CGroupSockAddr, helper) != nil {
			continue
		}
		if err := spec.Variables[name].Set(uint8(1)); err != nil {
			return nil, nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	reuse := state.maps(spec)
	defer func() {
		for _, m := range reuse {
			m.Close()
		}
	}()
	made, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: ring.Replace(reuse)})
	if err != nil {
		return nil, nil, fmt.Errorf("load BPF programs: %w", program.Refusal(err))
	}
	defer made.Close()
	if err := state.commit(made.Maps, len(reuse) > 0); err != nil {
		return nil, nil, err
	}
	var loaded objects
	if err := made.Assign(&loaded); err != nil {
		return nil, nil, fmt.Errorf("load BPF programs: %w", err)
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

// hook is a place in a cgroup that one of the programs runs at.
type hook struct {
	attach  ebpf.AttachType
	program *ebpf.Program
	// decides is true where datagrams are captured, false where captured exchanges are completed.
	decides bool
}

// name is what a pinned link of the hook is called.
func (h hook) name() string { return h.attach.String() }

// hooks lists them in the order of attaching: what completes a captured exchange is in place before datagrams are captured.
func (o *objects) hooks() []hook {
	return []hook{
		{ebpf.AttachCgroupInet4GetPeername, o.Getpeername4, false},
		{ebpf.AttachCgroupInet6GetPeername, o.Getpeername6, false},
		{ebpf.AttachCGroupUDP4Recvmsg, o.Recvmsg4, false},
		{ebpf.AttachCGroupUDP6Recvmsg, o.Recvmsg6, false},
		{ebpf.AttachCGroupInet4Connect, o.Connect4, true},
		{ebpf.AttachCGroupInet6Connect, o.Connect6, true},
		{ebpf.AttachCGroupUDP4Sendmsg, o.Sendmsg4, true},
		{ebpf.AttachCGroupUDP6Sendmsg, o.Sendmsg6, true},
	}
}

func (o *objects) close() error { return program.Close(o) }
