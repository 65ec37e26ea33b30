package inbound

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// objectCode is bpf/inbound.bpf.c compiled for little-endian machines by tools/generate.
//
//go:embed inbound_bpfel.o
var objectCode []byte

// lookupProgram is loaded once for each network namespace, whose cookie it cannot ask for.
const lookupProgram = "weir_inbound"

// objects are the programs and maps that all namespaces share.
type objects struct {
	Ops     *ebpf.Program `ebpf:"weir_inbound_ops"`
	Release *ebpf.Program `ebpf:"weir_inbound_release"`
	Edit    *ebpf.Program `ebpf:"weir_inbound_edit"`
	Explain *ebpf.Program `ebpf:"weir_inbound_explain"`
	Peer4   *ebpf.Program `ebpf:"weir_inbound_peer4"`
	Peer6   *ebpf.Program `ebpf:"weir_inbound_peer6"`

	Control *ebpf.Map `ebpf:"weir_inbound_control"`
	Listens *ebpf.Map `ebpf:"weir_inbound_listens"`
	Sockets *ebpf.Map `ebpf:"weir_inbound_sockets"`
	Rules   *ebpf.Map `ebpf:"weir_inbound_rules"`
	Own     *ebpf.Map `ebpf:"weir_inbound_own"`
	Sinks   *ebpf.Map `ebpf:"weir_inbound_sinks"`
	News    *ebpf.Map `ebpf:"weir_inbound_news"`
	Reasons *ebpf.Map `ebpf:"weir_inbound_reasons"`
	// Policies are those that rules refer to.
	Policies *ebpf.Map `ebpf:"weir_policies"`
	// Events is the ring, Variables say which decisions are told through it; Globals has them, for the programs of all namespaces.
	Events *ebpf.Map `ebpf:"weir_events"`
	events.Variables
	Globals *ebpf.Map `ebpf:".bss"`
}

// loadSpec decodes the embedded object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	return program.Spec(objectCode)
}

// loadObjects hands the shared programs and maps to the kernel; events go through ring. A refusal carries the verifier's whole log.
func loadObjects(ring *events.Ring) (*objects, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	var loaded objects
	if err := program.Load(spec, &loaded, &ebpf.CollectionOptions{MapReplacements: ring.Replace(nil)}); err != nil {
		return nil, err
	}
	return &loaded, nil
}

// loadLookup loads the program of one namespace, on the shared maps.
func (o *objects) loadLookup(netns uint64) (*ebpf.Program, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["weir_inbound_netns"].Set(netns); err != nil {
		return nil, fmt.Errorf("set weir_inbound_netns: %w", err)
	}
	var loaded struct {
		Lookup *ebpf.Program `ebpf:"weir_inbound"`
	}
	err = spec.LoadAndAssign(&loaded, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		"weir_inbound_control": o.Control, "weir_inbound_listens": o.Listens, "weir_inbound_rules": o.Rules,
		"weir_inbound_own": o.Own, "weir_inbound_sinks": o.Sinks, "weir_inbound_reasons": o.Reasons,
		"weir_policies": o.Policies, events.MapName: o.Events, ".bss": o.Globals,
	}})
	if err != nil {
		return nil, fmt.Errorf("load BPF program %s: %w", lookupProgram, program.Refusal(err))
	}
	return loaded.Lookup, nil
}

// hooks lists the programs that count who listens in the order of attaching: no socket is counted whose end would not be.
func (o *objects) hooks() []attach.Hook {
	return []attach.Hook{
		{At: ebpf.AttachCgroupInetSockRelease, Program: o.Release},
		{At: ebpf.AttachCGroupSockOps, Program: o.Ops},
	}
}

// nameHooks lists those that tell applications the addresses of clients.
func (o *objects) nameHooks() []attach.Hook {
	return []attach.Hook{
		{At: ebpf.AttachCgroupInet4GetPeername, Program: o.Peer4},
		{At: ebpf.AttachCgroupInet6GetPeername, Program: o.Peer6},
	}
}

func (o *objects) close() error { return program.Close(o) }

// edit runs the program that counts sockets as sockops does.
func (o *objects) edit(operation uint16, half wireHalf, socket wireSocket) error {
	e := wireEdit{Operation: operation, Half: half, Socket: socket}
	data, err := e.marshal()
	if err != nil {
		return err
	}
	result, err := o.Edit.Run(&ebpf.RunOptions{Data: data})
	if err != nil {
		return fmt.Errorf("run edit program: %w", err)
	}
	if result != 0 {
		return errNotEntered
	}
	return nil
}

// errNotEntered: the socket is counted already, or there is no room.
var errNotEntered = errors.New("not counted")
