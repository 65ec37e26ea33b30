package admin

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"sync"
)

// profiler writes profiles to a file. The Go runtime has one CPU profile per process; a second one is an error.
type profiler struct {
	path string

	mu   sync.Mutex
	cpu  *os.File // open while a CPU profile runs
	heap bool     // a heap profile was asked for
	// allocations were asked for
	allocations bool
}

// startCPU begins a CPU profile; while one runs it does nothing.
func (f *profiler) startCPU() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cpu != nil {
		return nil
	}
	file, err := os.Create(f.path)
	if err != nil {
		return fmt.Errorf("create profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(fmt.Errorf("start CPU profile: %w", err), file.Close())
	}
	f.cpu = file
	return nil
}

// stop ends a CPU profile, if one runs.
func (f *profiler) stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cpu == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := f.cpu.Close()
	f.cpu = nil
	if err != nil {
		return fmt.Errorf("write CPU profile: %w", err)
	}
	return nil
}

// enabled reads "enable=y" or "enable=n", the only parameter of the profilers.
func enabled(q query) (on, ok bool) {
	value := q["enable"]
	return value == "y", len(q) == 1 && (value == "y" || value == "n")
}

// cpuProfiler answers /cpuprofiler.
func (s *Server) cpuProfiler(p *reply, r *request) error {
	on, ok := enabled(r.query)
	if !ok {
		p.text(http.StatusBadRequest, "?enable=<y|n>\n")
		return nil
	}
	if !on {
		if err := s.profiler.stop(); err != nil {
			return err
		}
		p.ok()
		return nil
	}
	if err := s.profiler.startCPU(); err != nil {
		s.log.Error("start profiler", "error", err)
		p.text(http.StatusInternalServerError, "failure to start the profiler")
		return nil
	}
	p.ok()
	return nil
}

// heapProfiler answers /heapprofiler. The Go runtime samples allocations all the time, so that starting only notes the wish and
// stopping writes the profile.
func (s *Server) heapProfiler(p *reply, r *request) error {
	on, ok := enabled(r.query)
	if !ok {
		p.text(http.StatusBadRequest, "?enable=<y|n>\n")
		return nil
	}
	f := &s.profiler
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case on && f.heap:
		p.text(http.StatusBadRequest, "Fail to start heap profiler: already started")
		return nil
	case on:
		f.heap = true
		p.text(http.StatusOK, "Starting heap profiler")
		return nil
	case !f.heap:
		p.text(http.StatusBadRequest, "Fail to stop heap profiler: not started")
		return nil
	}
	f.heap = false
	var profile bytes.Buffer
	if err := pprof.WriteHeapProfile(&profile); err != nil {
		return fmt.Errorf("make heap profile: %w", err)
	}
	path := f.path + ".heap"
	if err := os.WriteFile(path, profile.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write heap profile: %w", err)
	}
	p.text(http.StatusOK, "Heap profiler stopped and data written to "+path+". See https://pkg.go.dev/runtime/pprof for details.")
	return nil
}

// allocProfiler answers /allocprofiler. The Go runtime samples allocations all the time: stopping answers with the profile, which is
// since the start of the process.
func (s *Server) allocProfiler(p *reply, r *request) error {
	on, ok := enabled(r.query)
	if !ok {
		p.text(http.StatusBadRequest, "?enable=<y|n>\n")
		return nil
	}
	f := &s.profiler
	f.mu.Lock()
	was := f.allocations
	f.allocations = on
	f.mu.Unlock()
	switch {
	case on && was:
		p.text(http.StatusBadRequest, "Allocation profiler has already started")
		return nil
	case on:
		p.ok()
		return nil
	case !was:
		p.text(http.StatusBadRequest, "Allocation profiler is not started")
		return nil
	}
	var profile bytes.Buffer
	if err := pprof.Lookup("allocs").WriteTo(&profile, 0); err != nil {
		return fmt.Errorf("make allocation profile: %w", err)
	}
	p.profile("allocs.pprof", &profile)
	return nil
}

// profile answers with a profile, to be saved as a file.
func (p *reply) profile(name string, content *bytes.Buffer) {
	p.typed(typeBinary)
	p.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	p.text(http.StatusOK, content.String())
}

// heapDump answers /heap_dump.
func (s *Server) heapDump(p *reply, _ *request) error {
	var profile bytes.Buffer
	if err := pprof.WriteHeapProfile(&profile); err != nil {
		return fmt.Errorf("make heap profile: %w", err)
	}
	p.profile("heap.pprof", &profile)
	return nil
}
