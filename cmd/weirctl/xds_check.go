package main

import (
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/controlplane"
)

// checker tells what weir would say of a resource; nil when only the rules of the API count.
func (a xdsArguments) checker() (controlplane.Checker, error) {
	if a.apiOnly {
		return nil, nil
	}
	c, err := agent.NewChecker(&options.Options{})
	if err != nil {
		return nil, err
	}
	return func(file string, r protoyaml.Resource) (errs []error, warnings []string) {
		found, err := translated(c.Translator, r.Message)
		for _, e := range translate.FieldErrors(err) {
			at := positionOf(file, r, e.Path)
			if strings.HasPrefix(e.Reason, "read data source") {
				// The file is to be on the client's host, which need not be this one.
				warnings = append(warnings, at+": "+e.Error())
				continue
			}
			errs = append(errs, fmt.Errorf("%s: %w", at, e))
		}
		for _, w := range found {
			warnings = append(warnings, positionOf(file, r, w.Path)+": "+w.String())
		}
		return errs, warnings
	}, nil
}

// positionOf is the place of a field as FILE:LINE:COLUMN.
func positionOf(file string, r protoyaml.Resource, path string) string {
	at, _ := r.Positions.Find(path)
	if at.Line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, at.Line, at.Column)
}

// translated translates a resource as weir does with what it gets over xDS. Types without a translation of their own have
// been decoded, and that is all.
func translated(t *translate.Translator, m proto.Message) (warnings []translate.Warning, err error) {
	meta := translate.Meta{Dynamic: true}
	switch m := m.(type) {
	case *listenerv3.Listener:
		_, warnings, err = t.Listener(m, meta)
	case *clusterv3.Cluster:
		_, warnings, err = t.Cluster(m, meta)
	case *routev3.RouteConfiguration:
		_, warnings, err = t.RouteConfig(m, meta)
	case *endpointv3.ClusterLoadAssignment:
		_, warnings, err = t.LoadAssignment(m, meta)
	case *tlsv3.Secret:
		_, warnings, err = t.Secret(m, meta)
	case *corev3.TypedExtensionConfig:
		_, warnings, err = t.FilterConfig(m, meta)
	}
	return warnings, err
}
