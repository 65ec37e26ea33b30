package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/cilium/ebpf"
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
