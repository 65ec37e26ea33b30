package agent

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/health"
)

// logHealthEvent writes an event of a health check to its log, a JSON object a line as Envoy's file sink does.
func (a *Agent) logHealthEvent(e cluster.HealthEvent) {
	line, err := healthEventJSON(&e)
	if err == nil {
		err = a.access.Append(e.Log, line)
	}
	if err != nil {
		a.log.Warn("a health check event was not logged", "path", e.Log, "error", err)
	}
}

func healthEventJSON(e *cluster.HealthEvent) ([]byte, error) {
	m := &datav3.HealthCheckEvent{
		HealthCheckerType: datav3.HealthCheckerType(datav3.HealthCheckerType_value[e.Checker]),
		Host:              hostAddress(e.Host), ClusterName: e.Cluster, Timestamp: timestamppb.Now(), Locality: hostLocality(e.Host.Locality),
	}
	failure := datav3.HealthCheckFailureType(datav3.HealthCheckFailureType_value[e.Failure])
	switch e.Kind {
	case health.EjectUnhealthy:
		m.Event = &datav3.HealthCheckEvent_EjectUnhealthyEvent{EjectUnhealthyEvent: &datav3.HealthCheckEjectUnhealthy{FailureType: failure}}
	case health.AddHealthy:
		m.Event = &datav3.HealthCheckEvent_AddHealthyEvent{AddHealthyEvent: &datav3.HealthCheckAddHealthy{FirstCheck: e.First}}
	case health.CheckFailure:
		m.Event = &datav3.HealthCheckEvent_HealthCheckFailureEvent{HealthCheckFailureEvent: &datav3.HealthCheckFailure{FailureType: failure, FirstCheck: e.First}}
	case health.Degraded:
		m.Event = &datav3.HealthCheckEvent_DegradedHealthyHost{DegradedHealthyHost: &datav3.DegradedHealthyHost{}}
	case health.NoLongerDegraded:
		m.Event = &datav3.HealthCheckEvent_NoLongerDegradedHost{NoLongerDegradedHost: &datav3.NoLongerDegradedHost{}}
	}
	return eventLine(m)
}

// eventLine is an event as an event log has it: a JSON object on a line of its own.
func eventLine(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson puts spaces in at random
		return nil, fmt.Errorf("encode event %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

func hostAddress(h *upstream.Host) *corev3.Address {
	if h.Pipe != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: h.Pipe}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: h.Address.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(h.Address.Port())},
	}}}
}

func hostLocality(l *model.Locality) *corev3.Locality {
	if l == nil || l.Region == "" && l.Zone == "" && l.SubZone == "" {
		return nil
	}
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}
