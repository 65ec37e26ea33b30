package admin

import (
	"os"
	gometrics "runtime/metrics"
	"strconv"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

// Memory is what the Go runtime has of memory, in bytes.
type Memory struct {
	// Allocated are objects that live or are not swept yet.
	Allocated uint64
	// Reserved is the heap without what went back to the system; it includes Allocated and Free.
	Reserved uint64
	// Unmapped went back to the system, Free is whole pages kept for what comes, ThreadCache is the allocator's own.
	Unmapped, Free, ThreadCache uint64
}

// ReadMemory reads it without stopping the world, as runtime.ReadMemStats would.
func ReadMemory() Memory {
	samples := [...]gometrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
	}
	gometrics.Read(samples[:])
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != gometrics.KindUint64 {
			return 0
		}
		return samples[i].Value.Uint64()
	}
	return Memory{
		Allocated: value(0), Reserved: value(0) + value(1) + value(2),
		Free: value(2), Unmapped: value(3), ThreadCache: value(4),
	}
}

// memory answers /memory, in Go's terms. The physical bytes are the resident set.
func (s *Server) memory(p *reply, _ *request) error {
	m := ReadMemory()
	return p.message(&adminv3.Memory{
		Allocated: m.Allocated, HeapSize: m.Reserved, PageheapUnmapped: m.Unmapped, PageheapFree: m.Free,
		TotalThreadCache: m.ThreadCache, TotalPhysicalBytes: ResidentBytes(),
	}, true)
}

// ResidentBytes is the size of this process's resident set by proc(5), 0 when it cannot be read.
func ResidentBytes() uint64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
