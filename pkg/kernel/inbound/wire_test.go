package inbound

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
		"inbound_place": reflect.TypeFor[wirePlace](), "inbound_count": reflect.TypeFor[wireCount](),
		"inbound_half": reflect.TypeFor[wireHalf](), "inbound_socket": reflect.TypeFor[wireSocket](),
		"inbound_prefix": reflect.TypeFor[wirePrefix](), "inbound_pair": reflect.TypeFor[wirePair](),
		"inbound_sink": reflect.TypeFor[wireSink](), "inbound_edit": reflect.TypeFor[wireEdit](),
		"inbound_rule": reflect.TypeFor[wireRule](), "inbound_peer": reflect.TypeFor[wirePeer](),
		"inbound_explain": reflect.TypeFor[wireExplain](),
		"inbound_control": reflect.TypeFor[wireControl](),
	} {
		t.Run(name, func(t *testing.T) {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Fatal(err)
			}
			if uintptr(c.Size) != goType.Size() || len(c.Members) != goType.NumField() {
				t.Fatalf("%d bytes and %d members in C, %d and %d in Go", c.Size, len(c.Members), goType.Size(), goType.NumField())
			}
			for n, member := range c.Members {
				field := goType.Field(n)
				size, err := btf.Sizeof(member.Type)
				if err != nil {
					t.Fatal(err)
				}
				if strings.ReplaceAll(member.Name, "_", "") != strings.ToLower(field.Name) ||
					uintptr(member.Offset.Bytes()) != field.Offset || uintptr(size) != field.Type.Size() {
					t.Errorf("member %d: %s at %d of %d bytes in C, %s at %d of %d in Go", n,
						member.Name, member.Offset.Bytes(), size, field.Name, field.Offset, field.Type.Size())
				}
			}
		})
	}
}

func TestConstantsMatchTheObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	enum := func(name string) map[string]uint64 {
		var e *btf.Enum
		if err := spec.Types.TypeByName(name, &e); err != nil {
			t.Fatal(err)
		}
		values := make(map[string]uint64)
		for _, v := range e.Values {
			values[v.Name] = v.Value
		}
		return values
	}
	reasons := enum("inbound_reason")
	if len(reasons) != int(reasonCount)+1 || reasons["INBOUND_COUNT"] != uint64(reasonCount) {
		t.Errorf("%d reasons in C, %d in Go", reasons["INBOUND_COUNT"], reasonCount)
	}
	for reason := range reasonCount {
		if value, found := reasons["INBOUND_"+strings.ToUpper(reason.String())]; !found || value != uint64(reason) {
			t.Errorf("%s is %d (%t) in C, %d in Go", reason, value, found, reason)
		}
		if reason.Text() == reason.String() {
			t.Errorf("%s has no text", reason)
		}
	}
}
