package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// Spec decodes an embedded object.
func Spec(code []byte) (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(code))
	if err != nil {
		return nil, fmt.Errorf("decode embedded BPF object: %w", err)
	}
	return spec, nil
}

// Load hands to the kernel what the fields of into, a pointer to a struct, are tagged with (`ebpf:"NAME"`). The error of a refusal
// carries the verifier's whole log.
func Load(spec *ebpf.CollectionSpec, into any, o *ebpf.CollectionOptions) error {
	if err := spec.LoadAndAssign(into, o); err != nil {
		return fmt.Errorf("load BPF programs: %w", Refusal(err))
	}
	return nil
}

// SetHelpers tells programs of a type which helpers this kernel has, of those that they can do without: it sets the constant named for each
// to 1.
func SetHelpers(spec *ebpf.CollectionSpec, of ebpf.ProgramType, optional map[string]asm.BuiltinFunc) error {
	for name, helper := range optional {
		if features.HaveProgramHelper(of, helper) != nil {
			continue
		}
		if err := spec.Variables[name].Set(uint8(1)); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// SwapControl makes value the settings that programs go by: the only entry of a fresh map made by inner, which is swapped for the one in
// the only slot of control, a map of maps. The kernel keeps the fresh map alive for as long as it is in place, and returns from the swap
// when no program runs on the old one any more.
func SwapControl(control *ebpf.Map, inner *ebpf.MapSpec, value any) error {
	fresh, err := ebpf.NewMap(inner)
	if err != nil {
		return fmt.Errorf("create control map: %w", err)
	}
	defer fresh.Close()
	if err := fresh.Put(uint32(0), value); err != nil {
		return fmt.Errorf("fill control map: %w", err)
	}
	if err := control.Put(uint32(0), fresh); err != nil {
		return fmt.Errorf("swap control map: %w", err)
	}
	return nil
}

// Refusal makes the text of an error contain the verifier's whole log, where there is one: without it, a refusal on somebody else's kernel
// cannot be understood.
func Refusal(err error) error {
	refused, ok := errors.AsType[*ebpf.VerifierError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("%w\n%+v", err, refused)
}

// Close closes the programs and maps that the fields of a struct are, a pointer to which it is given.
func Close(objects any) error {
	v := reflect.ValueOf(objects).Elem()
	var failed []error
	for i := range v.NumField() {
		if c, ok := v.Field(i).Interface().(io.Closer); ok {
			failed = append(failed, c.Close())
		}
	}
	return errors.Join(failed...)
}
