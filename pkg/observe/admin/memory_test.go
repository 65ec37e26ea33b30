package admin

import (
	"encoding/json"
	"net/http"
	"runtime"
	gometrics "runtime/metrics"
	"testing"
)

func TestMemory(t *testing.T) {
	var memory map[string]string
	if err := json.Unmarshal(ask(newServer(t, newFake(t), nil), http.MethodGet, "/memory").Body.Bytes(), &memory); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"allocated", "heap_size", "total_physical_bytes"} {
		if v := memory[name]; v == "" || v == "0" {
			t.Errorf("%s is %q", name, v)
		}
	}
	if len(memory) != 6 {
		t.Errorf("%v", memory)
	}
}

// stops is how often the world was stopped, other than to collect garbage.
func stops() (n uint64) {
	s := []gometrics.Sample{{Name: "/sched/pauses/total/other:seconds"}}
	gometrics.Read(s)
	for _, count := range s[0].Value.Float64Histogram().Counts {
		n += count
	}
	return n
}

// A scrape reads the memory: it must not stop what serves traffic meanwhile.
func TestReadMemoryStopsNothing(t *testing.T) {
	// Others may stop the world too, if rarely.
	const reads = 100
	before := stops()
	for range reads {
		ReadMemory()
	}
	if n := stops() - before; n > reads/2 {
		t.Errorf("%d reads stopped the world %d times", reads, n)
	}
}

func TestReadMemoryIsWhatTheRuntimeSays(t *testing.T) {
	var want runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&want)
	got := ReadMemory()
	near := func(name string, got, want uint64) {
		t.Helper()
		if d := int64(got) - int64(want); d < -4<<20 || d > 4<<20 {
			t.Errorf("%s is %d, the runtime says %d", name, got, want)
		}
	}
	near("allocated", got.Allocated, want.HeapAlloc)
	near("reserved", got.Reserved, want.HeapSys-want.HeapReleased)
	near("unmapped", got.Unmapped, want.HeapReleased)
	if got.Allocated == 0 || got.Allocated > got.Reserved {
		t.Errorf("allocated %d of %d", got.Allocated, got.Reserved)
	}
}
