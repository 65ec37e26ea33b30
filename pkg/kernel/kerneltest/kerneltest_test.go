package kerneltest

import (
	"reflect"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestCompare finds a member that differs, whatever it is that differs.
func TestCompare(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	inC := &btf.Struct{Name: "pair", Size: 8, Members: []btf.Member{{Name: "a_b", Type: u32}, {Name: "c", Type: u32, Offset: 32}}}
	for _, tc := range []struct {
		name string
		inGo reflect.Type
		same bool
	}{
		{"the same", reflect.TypeFor[struct{ AB, C uint32 }](), true},
		{"padding", reflect.TypeFor[struct{ AB, _ uint32 }](), true},
		{"another name", reflect.TypeFor[struct{ AB, D uint32 }](), false},
		{"another size", reflect.TypeFor[struct {
			AB uint32
			C  uint16
		}](), false},
		{"a member more", reflect.TypeFor[struct {
			AB   uint32
			C, D uint16
		}](), false},
		{"more bytes", reflect.TypeFor[struct {
			AB uint32
			C  uint64
		}](), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := differences(inC, tc.inGo); (len(diff) == 0) != tc.same {
				t.Errorf("differences: %q", diff)
			}
		})
	}
}
