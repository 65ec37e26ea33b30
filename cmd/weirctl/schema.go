package main

import (
	"encoding/json"
	"fmt"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // so that every message is described
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/schema"
)

// bootstrapType is what --schema describes without a TYPE.
const bootstrapType = "envoy.config.bootstrap.v3.Bootstrap"

// resourceTypes are the resources that a file may hold.
func resourceTypes() []protoreflect.FullName {
	return []protoreflect.FullName{
		"envoy.config.listener.v3.Listener", "envoy.config.route.v3.RouteConfiguration", "envoy.config.route.v3.ScopedRouteConfiguration",
		"envoy.config.route.v3.VirtualHost", "envoy.config.cluster.v3.Cluster", "envoy.config.endpoint.v3.ClusterLoadAssignment",
		"envoy.config.endpoint.v3.LbEndpoint", "envoy.extensions.transport_sockets.tls.v3.Secret", "envoy.config.core.v3.TypedExtensionConfig",
		"envoy.service.runtime.v3.Runtime",
	}
}

// printSchema writes the schema of the type in args, which may be empty.
func printSchema(args []string, std stdio) int {
	name := bootstrapType
	if len(args) == 1 {
		name = args[0]
	}
	s, err := schemaOf(name)
	if err != nil {
		fmt.Fprintf(std.err, "weirctl validate: %v\n", err)
		return exitError
	}
	e := json.NewEncoder(std.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(s); err != nil {
		fmt.Fprintf(std.err, "weirctl validate: write schema: %v\n", err)
		return exitError
	}
	return exitOK
}

func schemaOf(name string) (map[string]any, error) {
	checker, err := agent.NewChecker(&options.Options{})
	if err != nil {
		return nil, err
	}
	opt := schema.Options{
		Support:    checker.Translator.Table(),
		Extensions: []protoreflect.MessageDescriptor{(&udpav1.TypedStruct{}).ProtoReflect().Descriptor(), (&xdsv3.TypedStruct{}).ProtoReflect().Descriptor()},
	}
	seen := map[protoreflect.FullName]bool{}
	for _, f := range checker.Translator.Extensions().List() {
		for _, m := range []protoreflect.ProtoMessage{f.Config, f.PerRoute} {
			if m == nil || seen[m.ProtoReflect().Descriptor().FullName()] {
				continue
			}
			seen[m.ProtoReflect().Descriptor().FullName()] = true
			opt.Extensions = append(opt.Extensions, m.ProtoReflect().Descriptor())
		}
	}
	if name == "resources" {
		var types []protoreflect.MessageDescriptor
		for _, t := range resourceTypes() {
			md, err := messageType(string(t))
			if err != nil {
				return nil, err
			}
			types = append(types, md)
		}
		return schema.Resources(types, opt), nil
	}
	md, err := messageType(name)
	if err != nil {
		return nil, err
	}
	return schema.Of(md, opt), nil
}

// messageType finds a message by its name or type URL.
func messageType(name string) (protoreflect.MessageDescriptor, error) {
	full := protoreflect.FullName(name[strings.LastIndexByte(name, '/')+1:])
	mt, err := protoregistry.GlobalTypes.FindMessageByName(full)
	if err == nil {
		return mt.Descriptor(), nil
	}
	known := func(yield func(string) bool) {
		protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
			return yield(string(mt.Descriptor().FullName()))
		})
	}
	if near := extension.Nearest(string(full), known); near != "" {
		return nil, fmt.Errorf("no message is called %q (did you mean %s?)", name, near)
	}
	return nil, fmt.Errorf("no message is called %q: it is a name such as %s, or \"resources\"", name, bootstrapType)
}
