package translate

import (
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// FuzzTranslate gives arbitrary bytes to every method: the answer is a resource or field errors, never a panic.
func FuzzTranslate(f *testing.F) {
	add := func(m proto.Message) {
		if b, err := proto.Marshal(m); err == nil {
			f.Add(b)
		}
	}
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		b := &bootstrapv3.Bootstrap{}
		if _, err := protoyaml.DecodeFile(input, b, protoyaml.Options{SkipValidation: true}); err != nil {
			f.Fatal(err)
		}
		add(b)
		for _, l := range b.GetStaticResources().GetListeners() {
			add(l)
		}
		for _, c := range b.GetStaticResources().GetClusters() {
			add(c)
			add(c.GetLoadAssignment())
		}
		for _, s := range b.GetStaticResources().GetSecrets() {
			add(s)
		}
	}
	tr := testTranslator(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(m proto.Message, translate func() error) {
			if proto.Unmarshal(data, m) != nil {
				return
			}
			if err := translate(); err != nil && len(FieldErrors(err)) == 0 {
				t.Errorf("the error has no field: %v", err)
			}
		}
		l, c, r := &listenerv3.Listener{}, &clusterv3.Cluster{}, &routev3.RouteConfiguration{}
		e, s, b := &endpointv3.ClusterLoadAssignment{}, &tlsv3.Secret{}, &bootstrapv3.Bootstrap{}
		check(l, func() error { _, _, err := tr.Listener(l, Meta{}); return err })
		check(c, func() error { _, _, err := tr.Cluster(c, Meta{}); return err })
		check(r, func() error { _, _, err := tr.RouteConfig(r, Meta{}); return err })
		check(e, func() error { _, _, err := tr.LoadAssignment(e, Meta{}); return err })
		check(s, func() error { _, _, err := tr.Secret(s, Meta{}); return err })
		check(b, func() error { _, _, err := tr.Bootstrap(b, Meta{}); return err })
	})
}
