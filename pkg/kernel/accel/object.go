package accel

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
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
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(objectCode))
	if err != nil {
		return nil, fmt.Errorf("decode embedded BPF object: %w", err)
	}
	return spec, nil
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
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		if refused, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			return nil, fmt.Errorf("load BPF programs: %w\n%+v", err, refused)
		}
		return nil, fmt.Errorf("load BPF programs: %w", err)
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

func (o *objects) close() error {
	return errors.Join(
		o.Sockops.Close(), o.SockopsFull.Close(), o.Send.Close(), o.Receive.Close(), o.Doors.Close(), o.Backends.Close(),
		o.Apps.Close(), o.Peers.Close(), o.Links.Close(), o.Sinks.Close(), o.Sources.Close(),
		o.Slots.Close(), o.Counters.Close(),
	)
}
