package kerneltest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Structs compares every member of Go's structs with that of the struct of this name in the BTF of an object: names but for
// underscores and the case of letters, places and sizes. A member named _ in Go may have any name.
func Structs(t *testing.T, spec *ebpf.CollectionSpec, pairs map[string]reflect.Type) {
	t.Helper()
	for name, inGo := range pairs {
		t.Run(name, func(t *testing.T) {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Fatal(err)
			}
			for _, text := range differences(c, inGo) {
				t.Error(text)
			}
		})
	}
}

// differences tells what is not the same in C and in Go.
func differences(c *btf.Struct, inGo reflect.Type) (found []string) {
	if uintptr(c.Size) != inGo.Size() || len(c.Members) != inGo.NumField() {
		return []string{fmt.Sprintf("%d bytes and %d members in C, %d and %d in Go", c.Size, len(c.Members), inGo.Size(), inGo.NumField())}
	}
	for n, member := range c.Members {
		field := inGo.Field(n)
		size, err := btf.Sizeof(member.Type)
		named := field.Name == "_" || strings.EqualFold(strings.ReplaceAll(member.Name, "_", ""), field.Name)
		if err != nil || !named || uintptr(member.Offset.Bytes()) != field.Offset || uintptr(size) != field.Type.Size() {
			found = append(found, fmt.Sprintf("member %d: %s at %d of %d bytes in C, %s at %d of %d in Go (%v)",
				n, member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size(), err))
		}
	}
	return found
}

// Enum gives the values of an enum in the BTF of an object, by name.
func Enum(t testing.TB, spec *ebpf.CollectionSpec, name string) map[string]uint64 {
	t.Helper()
	var e *btf.Enum
	if err := spec.Types.TypeByName(name, &e); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]uint64, len(e.Values))
	for _, v := range e.Values {
		values[v.Name] = v.Value
	}
	return values
}
