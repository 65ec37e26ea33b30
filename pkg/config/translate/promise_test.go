package translate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// TestNothingIsIgnored sets every single field of the resources that the table does not list, and wants a finding for it.
func TestNothingIsIgnored(t *testing.T) {
	tr := testTranslator(t)
	table := Support()
	for _, m := range []proto.Message{
		&listenerv3.Listener{}, &clusterv3.Cluster{}, &routev3.RouteConfiguration{}, &endpointv3.ClusterLoadAssignment{}, &bootstrapv3.Bootstrap{},
	} {
		md := m.ProtoReflect().Descriptor()
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if _, listed := table[md.FullName()][string(fd.Name())]; listed {
				continue
			}
			one := m.ProtoReflect().New()
			one.Set(fd, nonZero(one, fd))
			warnings, err := translateAny(tr, one.Interface())
			found := false
			for _, e := range FieldErrors(err) {
				found = found || strings.HasPrefix(e.Path, string(fd.Name()))
			}
			for _, w := range warnings {
				found = found || w.Path == string(fd.Name())
			}
			if !found {
				t.Errorf("%s.%s is ignored", md.FullName(), fd.Name())
			}
		}
	}
}

func translateAny(tr *Translator, m proto.Message) (warnings []Warning, err error) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		_, warnings, err = tr.Listener(m, Meta{})
	case *clusterv3.Cluster:
		_, warnings, err = tr.Cluster(m, Meta{})
	case *routev3.RouteConfiguration:
		_, warnings, err = tr.RouteConfig(m, Meta{})
	case *endpointv3.ClusterLoadAssignment:
		_, warnings, err = tr.LoadAssignment(m, Meta{})
	case *bootstrapv3.Bootstrap:
		_, warnings, err = tr.Bootstrap(m, Meta{})
	}
	return warnings, err
}

// nonZero is a value of fd that counts as set.
func nonZero(m protoreflect.Message, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch {
	case fd.IsMap():
		v := m.NewField(fd)
		v.Map().Set(protoreflect.ValueOfString("k").MapKey(), v.Map().NewValue())
		return v
	case fd.IsList():
		v := m.NewField(fd)
		if fd.Message() != nil {
			v.List().Append(v.List().NewElement())
		} else {
			v.List().Append(changed(fd, fd.Default()))
		}
		return v
	case fd.Message() != nil:
		return m.NewField(fd)
	}
	return changed(fd, fd.Default())
}

// changed is another value than v, of a scalar field.
func changed(fd protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!v.Bool())
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get((int(v.Enum()) + 1) % values.Len()).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String() + "x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(v.Float() + 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()) + 1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(v.Int()) + 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint() + 1)
	default:
		return protoreflect.ValueOfInt64(v.Int() + 1)
	}
}

// TestEffectiveFieldsHaveEffect changes, one at a time, every single value of the golden configurations that the table
// calls effective, and wants the outcome to change. So the table cannot promise what the code does not do.
func TestEffectiveFieldsHaveEffect(t *testing.T) {
	tr := testTranslator(t)
	p := &promise{t: t, table: tr.table, seen: map[string]bool{}, effective: map[string]bool{}}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.Contains(file, "errors") || file == "testdata/cross.yaml" {
			continue // whose outcome is errors
		}
		b := &bootstrapv3.Bootstrap{}
		if _, err := protoyaml.DecodeFile(file, b, protoyaml.Options{SkipValidation: true}); err != nil {
			t.Fatal(err)
		}
		outcome := func() string {
			var out bytes.Buffer
			static, warnings, err := tr.Bootstrap(b, Meta{})
			if err != nil {
				return err.Error()
			}
			dump(&out, reflect.ValueOf(static), "")
			dump(&out, reflect.ValueOf(warnings), "")
			return out.String()
		}
		if _, _, err := tr.Bootstrap(b, Meta{}); err != nil {
			t.Fatalf("%s shows nothing while it has errors: %v", file, err)
		}
		p.outcome, p.before = outcome, outcome()
		for _, l := range b.GetStaticResources().GetListeners() {
			p.visit(l.ProtoReflect(), func() {})
		}
		for _, c := range b.GetStaticResources().GetClusters() {
			p.visit(c.ProtoReflect(), func() {})
		}
		for _, s := range b.GetStaticResources().GetSecrets() {
			p.visit(s.ProtoReflect(), func() {})
		}
		p.visit(b.ProtoReflect(), func() {})
	}
	p.resources("testdata/resources/dynamic.yaml", tr)
	// These only name an entry.
	for _, name := range []string{
		"envoy.config.core.v3.TypedExtensionConfig.name", "envoy.config.core.v3.TransportSocket.name",
		"envoy.config.cluster.v3.Cluster.CustomClusterType.name", "xds.core.v3.TypedExtensionConfig.name", "envoy.config.route.v3.RetryPolicy.RetryPriority.name",
	} {
		p.effective[name] = true
	}
	for message, fields := range tr.table {
		for field, f := range fields {
			name := string(message) + "." + field
			if f.Harmless == "" && !p.effective[name] && !p.seen[name] && !readElsewhere(name) {
				t.Errorf("%s is called effective, but no configuration in testdata sets it: effective.yaml is the place", name)
			}
		}
	}
	for name := range p.seen {
		if !p.effective[name] {
			t.Errorf("%s is called effective, but changing it changes nothing", name)
		}
	}
	if len(p.seen) < 150 {
		t.Errorf("only %d fields were tried", len(p.seen))
	}
}

// readElsewhere names the fields that are decoded outside of this package and its test registry, by tests of their own.
func readElsewhere(name string) bool {
	for _, prefix := range []string{
		"envoy.config.accesslog.v3.",                                                     // Options.DecodeAccessLogFilter
		"envoy.config.core.v3.SubstitutionFormatString.formatters",                       // Options.DecodeFormat
		"envoy.type.matcher.v3.HttpResponse", "envoy.type.matcher.v3.HttpRequestTrailer", // inputs that no route may have
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// resources tries the fields of resources as a control plane delivers them.
func (p *promise) resources(file string, tr *Translator) {
	src, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	list, _, err := protoyaml.DecodeResources(src, file, protoyaml.Options{})
	if err != nil || len(list) < 5 {
		p.t.Fatalf("%d resources: %v", len(list), err)
	}
	for _, r := range list {
		p.outcome = func() string {
			var out bytes.Buffer
			v, warnings, err := deliver(tr, r.Message)
			if err != nil {
				return err.Error()
			}
			dump(&out, reflect.ValueOf(v), "")
			dump(&out, reflect.ValueOf(warnings), "")
			return out.String()
		}
		if _, _, err := deliver(tr, r.Message); err != nil {
			p.t.Fatalf("%s shows nothing while it has errors: %v", file, err)
		}
		p.before = p.outcome()
		p.visit(r.Message.ProtoReflect(), func() {})
	}
}

// deliver translates a message as one that came from a control plane.
func deliver(tr *Translator, m proto.Message) (v any, warnings []Warning, err error) {
	meta := Meta{Dynamic: true}
	switch m := m.(type) {
	case *routev3.RouteConfiguration:
		return tr.RouteConfig(m, meta)
	case *routev3.ScopedRouteConfiguration:
		return tr.Scope(m, meta)
	case *routev3.VirtualHost:
		return tr.VirtualHost(m, &model.RouteConfig{MaxDirectResponseBytes: 4096}, meta)
	case *endpointv3.LbEndpoint:
		return tr.Endpoint("xdstp://a/envoy.config.endpoint.v3.LbEndpoint/c/1", m, meta)
	case *runtimev3.Runtime:
		return tr.RuntimeLayer(m, meta)
	}
	return nil, nil, fmt.Errorf("no translation of %T", m)
}

// promise walks messages and tries their fields.
type promise struct {
	t               *testing.T
	table           map[protoreflect.FullName]extension.Fields
	outcome         func() string
	before          string
	seen, effective map[string]bool
}

func (p *promise) visit(m protoreflect.Message, commit func()) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			return
		}
		p.visit(inner.ProtoReflect(), func() {
			b, err := proto.Marshal(inner)
			if err != nil {
				p.t.Fatal(err)
			}
			a.Value = b
			commit()
		})
		return
	}
	fields, ok := p.table[m.Descriptor().FullName()]
	if !ok {
		return
	}
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if f, listed := fields[string(fd.Name())]; listed && f.Harmless == "" {
			p.try(m, fd, commit)
		}
	}
	eachMessage(m, func(sub protoreflect.Message) bool {
		p.visit(sub, commit)
		return true
	})
}

// try changes one field, looks whether the outcome changes, and changes it back.
func (p *promise) try(m protoreflect.Message, fd protoreflect.FieldDescriptor, commit func()) {
	name := string(m.Descriptor().FullName()) + "." + string(fd.Name())
	values := variants(m, fd)
	if p.effective[name] || (fd.IsList() || fd.IsMap()) && !m.Has(fd) {
		return
	}
	container := fd.Message() != nil && !fd.IsList() && !fd.IsMap() && !m.Has(fd)
	p.seen[name] = p.seen[name] || !container // an empty message may well say nothing
	saved := proto.Clone(m.Interface())
	for _, v := range values {
		if fd.Message() != nil && !fd.IsList() && !fd.IsMap() && m.Has(fd) && !v.Message().IsValid() {
			m.Clear(fd)
		} else {
			m.Set(fd, v)
		}
		commit()
		if p.outcome() != p.before {
			p.effective[name] = true
		}
		proto.Reset(m.Interface())
		proto.Merge(m.Interface(), saved)
		commit()
	}
}

// variants are other values for a scalar, a wrapper or a duration; none for other fields.
func variants(m protoreflect.Message, fd protoreflect.FieldDescriptor) []protoreflect.Value {
	switch {
	case fd.IsList() || fd.IsMap():
		return []protoreflect.Value{m.NewField(fd)}
	case fd.Message() == nil:
		return []protoreflect.Value{changed(fd, m.Get(fd))}
	}
	of := func(m proto.Message) protoreflect.Value { return protoreflect.ValueOfMessage(m.ProtoReflect()) }
	switch fd.Message().FullName() {
	case "google.protobuf.BoolValue":
		return []protoreflect.Value{of(wrapperspb.Bool(true)), of(wrapperspb.Bool(false))}
	case "google.protobuf.UInt32Value":
		return []protoreflect.Value{of(wrapperspb.UInt32(77)), of(wrapperspb.UInt32(7777777))}
	case "google.protobuf.Duration":
		return []protoreflect.Value{of(&durationpb.Duration{Seconds: 77})}
	}
	if m.Has(fd) {
		return []protoreflect.Value{m.NewField(fd), protoreflect.ValueOfMessage(m.NewField(fd).Message().Type().Zero())} // empty, and absent
	}
	return []protoreflect.Value{m.NewField(fd)}
}
