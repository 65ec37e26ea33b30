package accel

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// objectCode is bpf/accel.bpf.c compiled for little-endian machines by tools/generate.
//
//go:embed accel_bpfel.o
var objectCode []byte

// objects are the loaded programs and maps.
type objects struct {
	Sockops     *ebpf.Program `ebpf:"weir_accel_sockops"`
	SockopsFull *ebpf.Program `ebpf:"weir_accel_sockops_full"`
	Send        *ebpf.Program `ebpf:"weir_accel_send"`
	Receive     *ebpf.Program `ebpf:"weir_accel_receive"`

	Doors    *ebpf.Map `ebpf:"accel_doors"`
	Backends *ebpf.Map `ebpf:"accel_backends"`
	Apps     *ebpf.Map `ebpf:"accel_apps"`
	Peers    *ebpf.Map `ebpf:"accel_peers"`
	Links    *ebpf.Map `ebpf:"accel_links"`
	Sinks    *ebpf.Map `ebpf:"accel_sinks"`
	Sources  *ebpf.Map `ebpf:"accel_sources"`
	Slots    *ebpf.Map `ebpf:"accel_slots"`
	Counters *ebpf.Map `ebpf:"accel_counters"`
}

// loadSpec decodes the embedded object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	return program.Spec(objectCode)
}

// load hands programs and maps to the kernel and attaches the programs to the maps whose sockets they serve.
func load(limit uint32) (*objects, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["weir_accel_full_limit"].Set(limit); err != nil {
		return nil, fmt.Errorf("set weir_accel_full_limit: %w", err)
	}
	var o objects
	if err := program.Load(spec, &o, nil); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		m *ebpf.Map
		p *ebpf.Program
	}{{o.Apps, o.Send}, {o.Sources, o.Receive}} {
		err := attachToMap(a.m, a.p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach to map %s: %w", a.m, err), o.close())
		}
	}
	// So that it lives as long as a socket does that holds the program.
	if err := o.Send.BindMap(o.Apps); err != nil {
		return nil, errors.Join(fmt.Errorf("bind map %s to program: %w", o.Apps, err), o.close())
	}
	return &o, nil
}

func (o *objects) close() error { return program.Close(o) }
