package program

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

type testReason uint32

func (r testReason) String() string { return fmt.Sprintf("r%d", uint32(r)) }

type testObjects struct {
	Program *ebpf.Program `ebpf:"answer"`
	Counts  *ebpf.Map     `ebpf:"counts"`
}

// spec is an object of one program that returns 7, or, broken, an uninitialised register, and a map of counters.
func spec(broken bool) *ebpf.CollectionSpec {
	code := asm.Instructions{asm.Mov.Imm(asm.R0, 7), asm.Return()}
	if broken {
		code = asm.Instructions{asm.Mov.Reg(asm.R0, asm.R5), asm.Return()}
	}
	return &ebpf.CollectionSpec{
		Programs: map[string]*ebpf.ProgramSpec{"answer": {Name: "answer", Type: ebpf.SocketFilter, Instructions: code, License: "GPL"}},
		Maps:     map[string]*ebpf.MapSpec{"counts": {Name: "counts", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
	}
}

func TestLoadCountClose(t *testing.T) {
	var o testObjects
	if err := Load(spec(false), &o, nil); err != nil {
		t.Fatal(err)
	}
	if p, err := Describe(o.Program); err != nil || p.Name != "answer" || p.ID == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	perCPU := make([]uint64, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = 3
	}
	if err := o.Counts.Put(uint32(2), perCPU); err != nil {
		t.Fatal(err)
	}
	got, err := Counters[testReason](o.Counts, 1, 4)
	if want := uint64(3 * len(perCPU)); err != nil || len(got) != 3 || got["r1"] != 0 || got["r2"] != want {
		t.Errorf("%v, %v", got, err)
	}
	if none, err := Counters[testReason](nil, 1, 4); err != nil || len(none) != 3 || none["r2"] != 0 {
		t.Errorf("without a map: %v, %v", none, err)
	}
	if err := Close(&o); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Program.Info(); err == nil {
		t.Error("the program is still open")
	}
	if _, err := Counters[testReason](o.Counts, 1, 4); err == nil {
		t.Error("the map is still open")
	}
}

func TestRefusalHasTheVerifiersWords(t *testing.T) {
	var o testObjects
	err := Load(spec(true), &o, nil)
	if err == nil || strings.Count(err.Error(), "\n") < 2 || !strings.Contains(err.Error(), "R5 !read_ok") {
		t.Errorf("error %v", err)
	}
}

func TestSpecOfNonsense(t *testing.T) {
	if _, err := Spec([]byte("nonsense")); err == nil || !strings.Contains(err.Error(), "decode embedded BPF object") {
		t.Errorf("error %v", err)
	}
}
