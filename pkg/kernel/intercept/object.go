package intercept

import (
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

//go:generate go run ../../../tools/generate

// objectCode is bpf/weir.bpf.c compiled for little-endian machines by tools/generate.
//
//go:embed weir_bpfel.o
var objectCode []byte

// objects are the loaded programs and maps.
type objects struct {
	Connect4     *ebpf.Program `ebpf:"weir_connect4"`
	Connect6     *ebpf.Program `ebpf:"weir_connect6"`
	Getpeername4 *ebpf.Program `ebpf:"weir_getpeername4"`
	Getpeername6 *ebpf.Program `ebpf:"weir_getpeername6"`
	Sockops      *ebpf.Program `ebpf:"weir_sockops"`
	Release      *ebpf.Program `ebpf:"weir_release"`
	Explain      *ebpf.Program `ebpf:"weir_explain"`

	Control  *ebpf.Map `ebpf:"weir_control"`
	Netns    *ebpf.Map `ebpf:"weir_netns"`
	Arena    *ebpf.Map `ebpf:"weir_arena"`
	Policies *ebpf.Map `ebpf:"weir_policies"`
	News     *ebpf.Map `ebpf:"weir_stranger_news"`
	Capture  *ebpf.Map `ebpf:"weir_capture"`
	Exclude  *ebpf.Map `ebpf:"weir_exclude"`
	Covered  *ebpf.Map `ebpf:"weir_covered"`
	Handoff  *ebpf.Map `ebpf:"weir_handoff"`
	Reasons  *ebpf.Map `ebpf:"weir_reasons"`
	// Variables say which decisions are told of.
	events.Variables
	// What is kept with sockets; read through sock_diag. Offloads has what did not find its place in Places.
	Flows    *ebpf.Map `ebpf:"weir_flows"`
	Offloads *ebpf.Map `ebpf:"weir_offloads"`
	Places   *ebpf.Map `ebpf:"weir_places"`
}

// loadSpec decodes the embedded object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	return program.Spec(objectCode)
}

// loadObjects hands the programs and maps to the kernel, with the carried maps of a daemon before, and gives what control maps and the
// arena's are made by; events go through ring. epoch is this daemon's. A refusal carries the verifier's whole log.
func loadObjects(pinned *attach.Pinned, epoch uint32, ring *events.Ring) (loaded *objects, controlInner, arenaInner *ebpf.MapSpec, err error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := spec.Variables["weir_epoch"].Set(epoch); err != nil {
		return nil, nil, nil, fmt.Errorf("set weir_epoch: %w", err)
	}
	if err := program.SetHelpers(spec, ebpf.CGroupSockAddr, optionalHelpers()); err != nil {
		return nil, nil, nil, err
	}
	loaded = &objects{}
	if err := pinned.Load(spec, loaded, ring.Replace); err != nil {
		return nil, nil, nil, err
	}
	return loaded, spec.Maps["weir_control"].InnerMap, spec.Maps["weir_arena"].InnerMap, nil
}

// optionalHelpers are what the programs use where the kernel has it, by the constant that tells them.
func optionalHelpers() map[string]asm.BuiltinFunc {
	return map[string]asm.BuiltinFunc{
		"weir_have_set_retval":   asm.FnSetRetval,      // 5.18
		"weir_have_mptcp_sock":   asm.FnSkcToMptcpSock, // 5.19
		"weir_have_current_comm": asm.FnGetCurrentComm, // 6.0
	}
}

func (o *objects) close() error { return program.Close(o) }
