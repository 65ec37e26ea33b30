package datagram

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestStructsMatchTheObject compares every member of the structs in wire.go with the BTF of the embedded object.
func TestStructsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, goType := range map[string]reflect.Type{
		"weir_udp_control": reflect.TypeFor[wireControl](), "weir_udp_prefix": reflect.TypeFor[wirePrefix](),
		"weir_udp_ports": reflect.TypeFor[wirePorts](), "weir_udp_rule": reflect.TypeFor[wireRule](), "weir_udp_query": reflect.TypeFor[wireQuery](),
		"weir_udp_verdict": reflect.TypeFor[wireVerdict](), "weir_udp_dest": reflect.TypeFor[wireDest](),
		"weir_udp_explain": reflect.TypeFor[wireExplain](), "weir_udp_find": reflect.TypeFor[wireFind](),
	} {
		t.Run(name, func(t *testing.T) {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Fatal(err)
			}
			if int(c.Size) != int(goType.Size()) || len(c.Members) != goType.NumField() {
				t.Fatalf("%d bytes, %d members in C, %d bytes, %d in Go", c.Size, len(c.Members), goType.Size(), goType.NumField())
			}
			for n, member := range c.Members {
				field := goType.Field(n)
				size, err := btf.Sizeof(member.Type)
				if err != nil {
					t.Fatal(err)
				}
				if strings.ReplaceAll(member.Name, "_", "") != strings.ToLower(field.Name) || uintptr(member.Offset.Bytes()) != field.Offset ||
					uintptr(size) != field.Type.Size() {
					t.Errorf("member %d: %s at %d of %d bytes in C, %s at %d of %d in Go",
						n, member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size())
				}
			}
		})
	}
}

func TestReasonsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	var e *btf.Enum
	if err := spec.Types.TypeByName("weir_udp_reason", &e); err != nil {
		t.Fatal(err)
	}
	for _, v := range e.Values {
		if name := strings.ToLower(strings.TrimPrefix(v.Name, "UDP_")); v.Value < uint64(reasonCount) && Reason(v.Value).String() != name {
			t.Errorf("%d is %s in C, %s in Go", v.Value, name, Reason(v.Value))
		}
	}
	if len(e.Values) != int(reasonCount)+1 {
		t.Errorf("%d reasons in C, %d in Go", len(e.Values)-1, reasonCount)
	}
}
