package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	gometrics "runtime/metrics"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// ready answers /ready.
func (s *Server) ready(p *reply, _ *request) error {
	state, status := s.opt.Server.State(), http.StatusServiceUnavailable
	if state == adminv3.ServerInfo_LIVE.String() {
		status = http.StatusOK
	}
	p.text(status, state+"\n")
	return nil
}

// serverInfo answers /server_info.
func (s *Server) serverInfo(p *reply, _ *request) error {
	info := &adminv3.ServerInfo{
		Version:            s.opt.Server.Version(),
		State:              adminv3.ServerInfo_State(adminv3.ServerInfo_State_value[s.opt.Server.State()]),
		UptimeCurrentEpoch: durationpb.New(s.opt.Server.Uptime().Truncate(time.Second)),
		UptimeAllEpochs:    durationpb.New(s.opt.Server.UptimeAllEpochs().Truncate(time.Second)),
		HotRestartVersion:  s.opt.Server.HotRestartVersion(),
		CommandLineOptions: redactedOptions(s.opt.Server.Options()),
		Node:               s.opt.Server.Node(),
	}
	return p.message(info, true)
}

// redactedOptions hides the secrets of --config-yaml, which is printed as redacted JSON.
func redactedOptions(o *adminv3.CommandLineOptions) *adminv3.CommandLineOptions {
	if o.GetConfigYaml() == "" {
		return o
	}
	out, ok := proto.Clone(o).(*adminv3.CommandLineOptions)
	if !ok {
		return nil
	}
	out.ConfigYaml = redactedText
	boot := &bootstrapv3.Bootstrap{}
	if _, err := protoyaml.Decode([]byte(o.GetConfigYaml()), "--config-yaml", boot, protoyaml.Options{AllowUnknown: true, SkipValidation: true}); err != nil {
		return out
	}
	if text, err := protoyaml.Marshal(redacted(boot), ""); err == nil {
		out.ConfigYaml = string(text)
	}
	return out
}

// certs answers /certs.
func (s *Server) certs(p *reply, _ *request) error {
	all := &adminv3.Certificates{}
	if s.opt.Certificates != nil {
		all = s.opt.Certificates.Certificates()
	}
	return p.message(all, true)
}

// hotRestartVersion answers /hot_restart_version.
func (s *Server) hotRestartVersion(p *reply, _ *request) error {
	p.text(http.StatusOK, s.opt.Server.HotRestartVersion())
	return nil
}

// memory answers /memory, in Go's terms: allocated are live and not yet swept objects, unmapped is what went back to the
// system, the thread cache is the allocator's own, and physical bytes are the resident set.
func (s *Server) memory(p *reply, _ *request) error {
	samples := []gometrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
	}
	gometrics.Read(samples)
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != gometrics.KindUint64 {
			return 0
		}
		return samples[i].Value.Uint64()
	}
	return p.message(&adminv3.Memory{
		Allocated:          value(0),
		HeapSize:           value(0) + value(1) + value(2),
		PageheapUnmapped:   value(3),
		PageheapFree:       value(2),
		TotalThreadCache:   value(4),
		TotalPhysicalBytes: ResidentBytes(),
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

// contention answers /contention: with --enable-mutex-tracing, the time that goroutines have waited for mutexes. Envoy counts
// in cycles and knows the number of waits; the Go runtime tells the sum of the times, which is given in nanoseconds.
func (s *Server) contention(p *reply, _ *request) error {
	if !s.opt.MutexTracing {
		p.text(http.StatusOK, "Mutex contention tracing is not enabled. To enable, run weir with flag --enable-mutex-tracing.")
		return nil
	}
	sample := []gometrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	gometrics.Read(sample)
	stats := &adminv3.MutexStats{}
	if sample[0].Value.Kind() == gometrics.KindFloat64 {
		stats.LifetimeWaitCycles = uint64(sample[0].Value.Float64() * 1e9)
	}
	return p.message(stats, true)
}

// marshalDefaults prints a message with the fields that have their default value, as Envoy prints /server_info and the like.
func marshalDefaults(m proto.Message, indent string) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true, AllowPartial: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s as JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", indent); err != nil {
		return nil, fmt.Errorf("indent JSON: %w", err)
	}
	return out.Bytes(), nil
}
