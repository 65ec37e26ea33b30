package xds

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func FuzzResponses(f *testing.F) {
	seed, err := proto.Marshal(&discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, Nonce: "1", Resources: []*anypb.Any{{TypeUrl: "type.googleapis.com/envoy.service.discovery.v3.Resource", Value: []byte{10, 1, 'x'}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x12\x00\x12\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var full discoveryv3.DiscoveryResponse
		if proto.Unmarshal(data, &full) == nil {
			check(t, sotwUpdate(&full), len(full.Resources))
		}
		var delta discoveryv3.DeltaDiscoveryResponse
		if proto.Unmarshal(data, &delta) == nil {
			check(t, deltaUpdate(&delta), len(delta.Resources))
		}
	})
}

func FuzzREST(f *testing.F) {
	f.Add([]byte(`{"version_info": "1", "resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a"}]}`))
	f.Add([]byte(`{"versionInfo": "1", "typeUrl": "x", "resources": [{"@type": "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "a", "ttl": "1s"}], "controlPlane": {"identifier": "i"}}`))
	f.Add([]byte(`{"resources": [{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := decodeREST(data)
		if err != nil {
			return
		}
		check(t, sotwUpdate(r), len(r.Resources))
	})
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte(twoClusters))
	f.Add([]byte("resources: []\n"))
	f.Add([]byte(`[{"@type": "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "a", "ttl": "1s", "resource": {"@type": "` + ClusterType + `"}}]`))
	f.Add([]byte("--- \n&a [*a]"))
	path := filepath.Join(f.TempDir(), "resources.yaml")
	source := newFile(fileOptions{path: path, typeURL: ClusterType, log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := source.read()
		if err != nil {
			return
		}
		for _, r := range u.Resources {
			if r.Body.GetTypeUrl() != ClusterType {
				t.Errorf("a resource of type %s", r.Body.GetTypeUrl())
			}
		}
		check(t, u, len(u.Resources))
	})
}

// check runs an update through a subscription of both protocols.
func check(t *testing.T, u Update, n int) {
	if len(u.Resources) != n {
		t.Fatalf("%d of %d resources", len(u.Resources), n)
	}
	for _, delta := range []bool{false, true} {
		m := NewMux(Options{Delta: delta})
		m.SubscribeAll(u.Type)
		m.due()
		if !m.begin(u.Type, nil) {
			t.Fatal("the type was asked for")
		}
		m.settle(u, "n", errors.New(u.Version+u.Type))
		sent := m.due()
		if len(sent) != 1 {
			t.Fatalf("%d answers", len(sent))
		}
		if _, err := proto.Marshal(sent[0].message()); err != nil {
			t.Fatal(err)
		}
	}
}
