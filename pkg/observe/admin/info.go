package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	gometrics "runtime/metrics"
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
